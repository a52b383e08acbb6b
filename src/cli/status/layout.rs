//! Text in columns and lines of a given width.

use k8s_openapi::jiff::Timestamp;

/// Between columns.
const GAP: usize = 2;

/// What the last column needs to say something; less important columns make room for it.
const MIN_LAST: usize = 32;

/// The heading of a column.
#[derive(Clone, Copy)]
pub(super) struct Heading {
    pub(super) text: &'static str,
    /// Left out where there is no room, the rightmost first.
    pub(super) optional: bool,
}

/// A line of headings and one for each row. The last column takes the room that is left, and is cut there.
pub(super) fn table(headings: &[Heading], rows: &[Vec<String>], width: usize) -> Vec<String> {
    // No single column may push the others off the screen.
    let most = (width / 3).max(8);
    let header = headings.iter().map(|heading| heading.text.to_owned()).collect();
    let lines: Vec<Vec<String>> =
        std::iter::once(header).chain(rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect())).collect();
    let widest = |column: usize| lines.iter().filter_map(|line| Some(line.get(column)?.chars().count())).max();
    let mut columns: Vec<(usize, usize)> =
        (0..headings.len().saturating_sub(1)).map(|column| (column, widest(column).unwrap_or(0).min(most))).collect();
    let taken = |columns: &[(usize, usize)]| columns.iter().map(|(_, width)| width + GAP).sum::<usize>();
    while taken(&columns) + MIN_LAST > width
        && let Some(least) = columns.iter().rposition(|(column, _)| headings[*column].optional)
    {
        columns.remove(least);
    }
    let rest = width.saturating_sub(taken(&columns));
    let line = |cells: &Vec<String>| {
        let padded = columns.iter().map(|(column, width)| format!("{:<1$}", cut(&cells[*column], *width), width + GAP));
        let last = cells.last().map(|last| cut(last, rest));
        padded.chain(last).collect::<String>().trim_end().to_owned()
    };
    lines.iter().map(line).collect()
}

/// Words on lines of at most `width` characters; longer words are broken. Of more than `most` lines, the last ends in `…`.
pub(super) fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in clean(text).split_whitespace() {
        let mut letters: Vec<char> = word.chars().collect();
        while !letters.is_empty() {
            let filled = lines.last().map_or(0, |line| line.chars().count());
            let gap = usize::from(filled > 0);
            let room = width.saturating_sub(filled + gap);
            if letters.len() > room && filled > 0 {
                lines.push(String::new());
                continue;
            }
            let rest = letters.split_off(letters.len().min(room.max(1)));
            if let Some(line) = lines.last_mut() {
                line.extend(std::iter::repeat_n(' ', gap));
                line.extend(letters);
            }
            letters = rest;
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = cut(&format!("{last} …"), width);
        }
    }
    lines
}

/// At most `width` characters, with a sign that some are missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// What others say must not steer the terminal, nor break the line.
fn clean(text: &str) -> String {
    let harmless = |letter: char| match letter {
        _ if letter.is_whitespace() => ' ',
        _ if letter.is_control() => char::REPLACEMENT_CHARACTER,
        _ => letter,
    };
    text.chars().map(harmless).collect()
}

/// How long ago that was, as `kubectl` writes it: `42s`, `3m12s`, `26h`, `12d`.
pub(super) fn ago(then: Option<Timestamp>, now: Timestamp) -> String {
    let Some(then) = then else { return "-".to_owned() };
    // The cluster's clock may be ahead of ours.
    let seconds = (now.as_second() - then.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let with = |whole: i64, unit: &str, rest: i64, smaller: &str| {
        if rest == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit}{rest}{smaller}") }
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => with(minutes, "m", seconds % 60, "s"),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 8 => with(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => with(days, "d", hours % 24, "h"),
        () if days < 2 * 365 => format!("{days}d"),
        () if days < 8 * 365 => with(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_kubectl_tells_them() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let told = |seconds| ago(Some(at(0)), at(seconds));
        let cases = [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (192, "3m12s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 300, "3h5m"),
            (26 * 3600, "26h"),
            (49 * 3600, "2d1h"),
            (20 * 86_400, "20d"),
            (800 * 86_400, "2y70d"),
            (4000 * 86_400, "10y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(told(seconds), expected, "{seconds} s");
        }
        assert_eq!(ago(None, at(0)), "-");
    }

    #[test]
    fn lines_are_never_wider_than_asked() {
        assert_eq!(wrap("one two three", 7, 9), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij kl", 4, 9), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrap("one two three four", 7, 2), ["one two", "three …"]);
        assert_eq!(wrap("", 7, 2), [""]);
        for width in 1..20 {
            let lines = wrap("a bc def ghijklmnopqrstuvwxyz äöü", width, 99);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), "abcdefghijklmnopqrstuvwxyzäöü");
        }
    }

    #[test]
    fn nobody_steers_the_terminal() {
        let row = vec!["a".to_owned(), "\u{1b}[31mred\nline\u{7}".to_owned()];
        let headings = ["A", "B"].map(|text| Heading { text, optional: false });
        assert_eq!(table(&headings, &[row], 40), ["A  B", "a  \u{fffd}[31mred line\u{fffd}"]);
        assert_eq!(wrap("a\u{9b}b\tc", 40, 1), ["a\u{fffd}b c"]);
    }
}
