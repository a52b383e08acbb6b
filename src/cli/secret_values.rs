//! Whether a value looks like a secret: by its name, by a known token format, or by how random it is.
//!
//! A guess, for warnings and for moving values out of manifests. It leans towards yes: a reference where a literal
//! would have done costs a line, a secret in a manifest costs more.

/// Words of a name that say what the value is.
const SECRET_WORDS: [&str; 16] = [
    "key",
    "apikey",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pass",
    "credential",
    "credentials",
    "auth",
    "authorization",
    "cookie",
    "pat",
    "dsn",
    "bearer",
];

/// Words of a name that say that the value is about a secret and is none.
const HARMLESS_WORDS: [&str; 12] =
    ["file", "path", "dir", "url", "uri", "endpoint", "host", "type", "method", "header", "public", "id"];

/// How tokens of well-known issuers begin.
const TOKEN_PREFIXES: [&str; 22] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "hf_",
    "npm_",
    "SG.",
    "eyJ",
    "-----BEGIN",
];

/// The shortest value that is judged by its randomness, in bytes: 20 random base64 characters are 120 bits.
const RANDOM_LENGTH: usize = 20;

/// Bits per character above which a long word is random: English text has about 4 over 26 letters, but few words are long.
const RANDOM_BITS: f64 = 3.8;

/// Whether the value named `name` should not be in a manifest.
pub(super) fn looks_secret(name: &str, value: &str) -> bool {
    if value.is_empty() || is_plain(value) {
        return false;
    }
    has_password(value) || is_token(value) || (names_secret(name) && !names_harmless(name)) || is_random(value)
}

/// Whether one word of `name` says secret.
pub(super) fn names_secret(name: &str) -> bool {
    words(name).iter().any(|word| SECRET_WORDS.contains(&word.as_str()))
}

fn names_harmless(name: &str) -> bool {
    words(name).last().is_some_and(|word| HARMLESS_WORDS.contains(&word.as_str()))
        || words(name).contains(&"public".to_owned())
}

/// The words of `GITHUB_API_KEY`, `X-Api-Key` or `apiKey`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for letter in name.chars() {
        let starts_word = !letter.is_alphanumeric() || (letter.is_uppercase() && lower_before);
        if starts_word {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
        lower_before = letter.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A switch, a number or the like: too little to hide.
fn is_plain(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    matches!(lower.as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "none" | "null")
        || (value.len() < 6 && value.parse::<f64>().is_ok())
}

fn is_token(value: &str) -> bool {
    let value = value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("Basic ")).unwrap_or(value);
    value.len() >= 16 && TOKEN_PREFIXES.iter().any(|prefix| value.starts_with(prefix))
}

/// A URL with a password in it.
fn has_password(value: &str) -> bool {
    value.contains("://")
        && url::Url::parse(value).is_ok_and(|url| url.password().is_some_and(|password| !password.is_empty()))
}

/// One long word with letters and digits, no two of which are alike.
fn is_random(value: &str) -> bool {
    let is_word = value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'/' | b'=' | b'.'));
    // Paths and dotted names have their own words; a secret in base64 has few separators.
    let separators = value.bytes().filter(|byte| matches!(byte, b'-' | b'_' | b'/' | b'.')).count();
    is_word
        && value.len() >= RANDOM_LENGTH
        && separators * 10 <= value.len()
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
        && bits_per_character(value) >= RANDOM_BITS
}

/// Shannon's entropy of the characters.
fn bits_per_character(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let length = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX));
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_format_or_randomness() {
        for (name, value) in [
            ("GITHUB_TOKEN", "hunter2"),
            ("apiKey", "abcdef"),
            ("X-Api-Key", "abcdef"),
            ("DB_PASSWORD", "letmein"),
            ("Authorization", "Bearer abc"),
            ("WHATEVER", "ghp_0123456789abcdefghij"),
            ("HEADER", "Bearer eyJhbGciOiJIUzI1NiJ9"),
            ("DATABASE_URL", "postgres://user:hunter2@db/app"),
            ("SEED", "q9Zx2LmV7tRb4KwPn8Ys"),
        ] {
            assert!(looks_secret(name, value), "{name}={value}");
        }
    }

    #[test]
    fn ordinary_values_are_not() {
        for (name, value) in [
            ("LOG_LEVEL", "debug"),
            ("NODE_ENV", "production"),
            ("TOKEN_LIMIT", "4096"),
            ("USE_AUTH", "true"),
            ("GITHUB_TOKEN_FILE", "/run/secrets/token"),
            ("PUBLIC_KEY", "ssh-ed25519 AAAA"),
            ("DATABASE_URL", "postgres://db/app"),
            ("WORKSPACE", "/home/me/projects/mcp-gateway-2024/src"),
            ("MODEL", "claude-sonnet-4-20250514"),
            ("HOST", "search.internal.example.com"),
            ("PAGER", "cat"),
            ("TOKEN", ""),
        ] {
            assert!(!looks_secret(name, value), "{name}={value}");
        }
    }
}
