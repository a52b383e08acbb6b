//! Requests that servers make of the client (elicitation, sampling, roots), and the answers' way back.
//!
//! A server numbers its own requests, and two servers choose equal numbers; so the gateway gives each question an id of its
//! own towards the client and remembers whose it is. The id names this life of the session, too: what a client answers late
//! must not meet a question that another replica asked since.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Questions that may be open at once in a session: a bound for servers that ask and never hear.
const MAX_OPEN: usize = 256;

/// What is known of an open question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Question {
    /// The server of the route that asked.
    pub(crate) server: String,
    /// The server's own id, as JSON text.
    pub(crate) id: Box<str>,
    /// The progress token that the server put into it, as JSON text: the client reports progress under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) progress_token: Option<Box<str>>,
}

/// The open questions of one session.
#[derive(Debug)]
pub(crate) struct Questions {
    /// Names this life of the session: 8 hexadecimal digits.
    life: String,
    next: AtomicU64,
    /// By what follows the prefix in the id.
    open: Mutex<HashMap<Box<str>, Question>>,
}

impl Default for Questions {
    fn default() -> Self {
        // Random enough to tell lives apart; nothing depends on nobody guessing it.
        let life = RandomState::new().hash_one(()) & u64::from(u32::MAX);
        Self { life: format!("{life:08x}"), next: AtomicU64::new(0), open: Mutex::default() }
    }
}

/// Before the number in the ids that clients see.
const ID_PREFIX: &str = "gateway-";

impl Questions {
    /// Opens a question and gives it the id for the client, as JSON text; `None` when too many are open.
    pub(crate) fn ask(&self, question: Question) -> Option<String> {
        let mut open = self.open.lock();
        if open.len() >= MAX_OPEN {
            return None;
        }
        let key = format!("{}-{}", self.life, self.next.fetch_add(1, Ordering::Relaxed));
        let id = format!("\"{ID_PREFIX}{key}\"");
        open.insert(key.into(), question);
        Some(id)
    }

    /// Closes the question that the client answers under `id` (JSON text).
    pub(crate) fn answered(&self, id: &str) -> Option<Question> {
        let key = id.strip_prefix('"')?.strip_suffix('"')?.strip_prefix(ID_PREFIX)?;
        self.open.lock().remove(key)
    }

    /// Closes the question that its server takes back, and names the client's id for it, as JSON text.
    pub(crate) fn withdrawn(&self, server: &str, id: &str) -> Option<String> {
        let mut open = self.open.lock();
        let key = open
            .iter()
            .find_map(|(key, question)| (question.server == server && *question.id == *id).then(|| key.clone()))?;
        open.remove(&key);
        Some(format!("\"{ID_PREFIX}{key}\""))
    }

    /// The server that waits for progress under `token` (JSON text).
    pub(crate) fn server_of_token(&self, token: &str) -> Option<String> {
        let open = self.open.lock();
        open.values()
            .find(|question| question.progress_token.as_deref() == Some(token))
            .map(|question| question.server.clone())
    }

    /// Every open question, for another replica to take the answers.
    pub(crate) fn all(&self) -> Vec<(Box<str>, Question)> {
        self.open.lock().iter().map(|(key, question)| (key.clone(), question.clone())).collect()
    }

    /// Takes questions that another replica asked, and whose answers may come here.
    pub(crate) fn take_over(&self, questions: impl IntoIterator<Item = (Box<str>, Question)>) {
        self.open.lock().extend(questions.into_iter().take(MAX_OPEN));
    }

    /// Whether any question waits for the client.
    pub(crate) fn any_open(&self) -> bool {
        !self.open.lock().is_empty()
    }

    /// Forgets what a lost server asked.
    pub(crate) fn forget(&self, server: &str) {
        self.open.lock().retain(|_, question| question.server != server);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(server: &str, id: &str) -> Question {
        Question { server: server.to_owned(), id: id.into(), progress_token: Some(format!("{server}-token").into()) }
    }

    #[test]
    fn equal_ids_of_two_servers_stay_apart() {
        let questions = Questions::default();
        let first = questions.ask(question("a", "1")).unwrap();
        let second = questions.ask(question("b", "1")).unwrap();
        assert_ne!(first, second);
        assert_eq!(questions.answered(&second), Some(question("b", "1")));
        assert_eq!(questions.answered(&second), None, "an answer counts once");
        assert_eq!(questions.withdrawn("a", "1"), Some(first));
        assert!(!questions.any_open());
    }

    #[test]
    fn an_answer_to_an_earlier_life_matches_nothing_unless_it_was_taken_over() {
        let (before, after) = (Questions::default(), Questions::default());
        let late = before.ask(question("a", "1")).unwrap();
        let fresh = after.ask(question("b", "1")).unwrap();
        assert_ne!(late, fresh);
        assert_eq!(after.answered(&late), None);
        after.take_over(before.all());
        assert_eq!(after.answered(&late), Some(question("a", "1")));
    }

    #[test]
    fn foreign_answers_match_nothing() {
        let questions = Questions::default();
        questions.ask(question("a", "1")).unwrap();
        for id in ["1", "\"1\"", "\"gateway-9\"", "gateway-0", ""] {
            assert_eq!(questions.answered(id), None, "{id}");
        }
    }

    #[test]
    fn progress_finds_its_server_and_a_lost_server_is_forgotten() {
        let questions = Questions::default();
        questions.ask(question("a", "1")).unwrap();
        assert_eq!(questions.server_of_token("a-token").as_deref(), Some("a"));
        questions.forget("a");
        assert_eq!(questions.server_of_token("a-token"), None);
    }

    #[test]
    fn too_many_questions_are_refused() {
        let questions = Questions::default();
        for number in 0..MAX_OPEN {
            assert!(questions.ask(question("a", &number.to_string())).is_some());
        }
        assert_eq!(questions.ask(question("a", "more")), None);
    }
}
