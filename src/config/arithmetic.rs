//! Arithmetic in placeholders: `%(a + b * 2)`, words from left to right, without precedence.

use super::limits::MAX_TEXT;
use crate::types::quote::quoted;

/// Works out words separated by blanks. uWSGI takes a word without a meaning as empty, or as 0; here it is a fault.
///
/// # Errors
/// Those of `named`; a word that is neither a name nor a number; a text that is not a number; a number that is too
/// large.
pub(super) fn evaluate<E: From<String>>(
    text: &str,
    mut named: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<String, E> {
    let mut value: Option<String> = None;
    let mut operator: Option<&str> = None;
    for word in text.split_ascii_whitespace() {
        match (word, value.take()) {
            ("++" | "--", Some(left)) => value = Some(apply(&left, word, "1")?),
            ("+" | "-" | "*" | "/", Some(left)) => {
                operator = Some(word);
                value = Some(left);
            }
            (word, left) => {
                let right = match named(word)? {
                    Some(text) => text,
                    None if word.parse::<i64>().is_ok() => word.to_owned(),
                    None => return Err(meaningless(word).into()),
                };
                value = Some(match (left, operator.take()) {
                    (None, _) => right,
                    (Some(left), None) if left.len() + right.len() > MAX_TEXT => {
                        return Err("an arithmetic placeholder is longer than 1 MiB"
                            .to_owned()
                            .into());
                    }
                    (Some(left), None) => left + &right,
                    (Some(left), Some(operator)) => apply(&left, operator, &right)?,
                });
            }
        }
    }
    Ok(value.unwrap_or_default())
}

fn meaningless(word: &str) -> String {
    format!(
        "{} in an arithmetic placeholder is neither a name in the list nor a number",
        quoted(word)
    )
}

fn apply(left: &str, operator: &str, right: &str) -> Result<String, String> {
    let (left, right) = (number(left)?, number(right)?);
    let result = match operator {
        "+" | "++" => left.checked_add(right),
        "-" | "--" => left.checked_sub(right),
        "*" => left.checked_mul(right),
        // As in uWSGI: division by zero gives 0.
        _ if right == 0 => Some(0),
        _ => left.checked_div(right),
    };
    result
        .map(|number| number.to_string())
        .ok_or_else(|| format!("{left} {operator} {right} is too large"))
}

fn number(text: &str) -> Result<i64, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("{} in an arithmetic placeholder is not a number", quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(text: &str) -> String {
        let named = |word: &str| {
            Ok::<_, String>(match word {
                "foo" => Some("17".to_owned()),
                "bar" => Some("30".to_owned()),
                _ => None,
            })
        };
        evaluate(text, named).unwrap()
    }

    #[test]
    fn words_are_worked_out_from_left_to_right() {
        for (text, value) in [
            ("foo + bar + 3", "50"),
            ("foo + bar + 3 * 2", "100"),
            ("foo ++", "18"),
            ("foo bar ++", "1731"),
            ("foo - bar", "-13"),
            ("foo / 0", "0"),
            ("foo bar", "1730"),
        ] {
            assert_eq!(evaluated(text), value, "{text}");
        }
    }

    #[test]
    fn a_word_that_means_nothing_is_told() {
        let named = |word: &str| Ok::<_, String>((word == "foo").then(|| "17".to_owned()));
        for text in ["foo + zork", "zork foo", "+ foo"] {
            assert!(
                evaluate(text, named).unwrap_err().contains("neither a name in the list"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_number_or_too_large_is_told() {
        let named = |_: &str| Ok::<_, String>(Some("9223372036854775807".to_owned()));
        assert!(evaluate("a + b", named).unwrap_err().contains("too large"));
        let named = |_: &str| Ok::<_, String>(Some("x".to_owned()));
        assert!(evaluate("a + b", named).unwrap_err().contains("not a number"));
    }
}
