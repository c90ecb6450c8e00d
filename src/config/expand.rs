//! Expansion: `$(ENV)`, then `@(resource)`, then `%(placeholder)`, each once over the whole list.
//!
//! What is inserted is expanded again in the same pass, and in no later one.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::opts::key::Directive;
use crate::opts::{self, Class};

use crate::types::quote::{NOT_SHOWN, cut, quoted};

use super::limits::{Counted, EXPANSION_TOO_LONG, MAX_TEXT};
use super::read::{ConfigReader, Entry, Stop};
use super::setting::{Fault, Origin, Setting};
use super::{arithmetic, file};

/// Deepest nesting of variables, resources or placeholders.
const MAX_EXPANSION_DEPTH: usize = 64;

/// Most marks of one text that are left as they are because they have no value.
const MAX_MARKS_KEPT: usize = 1000;

/// Why an expansion fails: it is nested too deeply, refers to itself, is too long, or a resource is missing.
type Failed = String;

impl ConfigReader<'_> {
    /// Expands every value that is not literal.
    pub(super) fn expand(&mut self) -> Result<(), Stop> {
        let mut list = std::mem::take(&mut self.list);
        let done = self
            .pass(&mut list, "$(", |reader, text, depth| reader.variables(text, depth))
            .and_then(|()| {
                self.pass(&mut list, "@(", |reader, text, depth| reader.resources(text, depth))
            })
            .and_then(|()| self.placeholders(&mut list));
        self.list = list;
        done
    }

    fn pass(
        &mut self,
        list: &mut [Entry],
        mark: &str,
        with: impl Fn(&mut Self, &str, usize) -> Result<String, Failed>,
    ) -> Result<(), Stop> {
        let mut total = 0;
        for entry in list {
            let Setting { key, value, origin, hidden } = &mut entry.setting;
            if value.contains(mark) && !is_raw(key, entry.literal) {
                self.hidden = *hidden;
                match with(self, value, 0) {
                    Ok(text) => {
                        *hidden |= text != *value;
                        *value = text;
                    }
                    Err(message) => self.faults.push(Fault::new(origin, key, message)),
                }
                self.hidden = false;
                self.warn_of_commands(key, origin);
            }
            total += value.len();
            if total > MAX_TEXT {
                self.fault(origin, key, EXPANSION_TOO_LONG);
                return Err(Stop);
            }
        }
        Ok(())
    }

    /// Warns of variables that a shell would have read as commands.
    fn warn_of_commands(&mut self, key: &str, origin: &Origin) {
        let is_command = opts::find(key).is_some_and(|opt| opt.meta == "COMMAND");
        for inside in std::mem::take(&mut self.possible_commands).iter().filter(|_| is_command) {
            let (name, default) = inside.split_once('-').unwrap_or((inside, ""));
            let message = format!(
                "$({}) is read as the variable {} with the default {}; for the output of a command write it in \
                 backquotes",
                cut(inside),
                cut(name),
                quoted(default)
            );
            self.warnings.push(Fault::new(origin, key, message));
        }
    }

    fn variables(&mut self, text: &str, depth: usize) -> Result<String, Failed> {
        marks(text, "$(", |name| {
            let inside = name;
            let (name, default) = match inside.split_once('-') {
                Some((name, text)) => match name.strip_suffix(':') {
                    Some(name) => (name, Some((text, true))),
                    None => (name, Some((text, false))),
                },
                None => (inside, None),
            };
            // Anything else in such parentheses is a command for the shell, or arithmetic of the shell.
            if !is_variable(name) {
                return Ok(None);
            }
            let value = self.call.variable(name).map(|value| value.to_string_lossy().into_owned());
            let value = match (value, default) {
                (Some(value), Some((text, true))) if value.is_empty() => text.to_owned(),
                (Some(value), _) => value,
                (None, Some((text, is_if_empty))) => {
                    // Variables are usually written in capital letters, commands almost never.
                    if depth == 0 && !is_if_empty && name.contains(|c: char| c.is_ascii_lowercase())
                    {
                        self.possible_commands.push(inside.to_owned());
                    }
                    text.to_owned()
                }
                (None, None) => return Ok(None),
            };
            self.limits.charge(Counted::Replaced, 1)?;
            if depth >= MAX_EXPANSION_DEPTH {
                return Err(format!("$({name}) leads back to itself"));
            }
            self.limits.charge(Counted::ReplacedText, value.len())?;
            self.variables(&value, depth + 1).map(Some)
        })
    }

    fn resources(&mut self, text: &str, depth: usize) -> Result<String, Failed> {
        marks(text, "@(", |name| {
            self.limits.charge(Counted::Replaced, 1)?;
            // No message repeats a name that was itself inserted, nor a reason that may contain it.
            let is_hidden = self.hidden || depth > 0;
            let name_shown =
                if is_hidden { NOT_SHOWN.to_owned() } else { format!("@({})", cut(name)) };
            if depth >= MAX_EXPANSION_DEPTH {
                return Err(format!("{name_shown} leads back to itself"));
            }
            let content = self.resource(name).map_err(|message| {
                if is_hidden {
                    return format!("{name_shown} in @( ) leads to nothing that can be read");
                }
                format!("{name_shown}: {message}{}", file::hint_for_name(name.as_bytes()))
            })?;
            if content.contains('\0') {
                return Err(format!("{name_shown}: contains a zero byte"));
            }
            self.resources(&content, depth + 1).map(Some)
        })
    }

    fn placeholders(&mut self, list: &mut [Entry]) -> Result<(), Stop> {
        if !list.iter().any(|entry| entry.setting.value.contains("%(")) {
            return Ok(());
        }
        let mut places = HashMap::with_capacity(list.len());
        for (place, entry) in list.iter().enumerate() {
            places.entry(entry.setting.key.clone()).or_insert(place);
        }
        let text = list.iter().map(|_| Expanded::Raw).collect();
        let hidden = list.iter().map(|entry| entry.setting.hidden).collect();
        let longest = places.keys().map(String::len).max().unwrap_or(0);
        let mut pass =
            Placeholders { list, places, longest, text, hidden, chain: Vec::new(), total: 0 };
        for place in 0..pass.list.len() {
            let Some(entry) = pass.list.get(place) else { break };
            if is_raw(&entry.setting.key, entry.literal) || !entry.setting.value.contains("%(") {
                continue;
            }
            let result = pass.text_of(place, &mut self.used_names);
            let Some(entry) = pass.list.get(place) else { break };
            match result {
                Ok(_) => {}
                Err(NoText::Reported) => pass.chain.clear(),
                Err(NoText::Failed(message)) => {
                    // A message about arithmetic repeats the texts that are added.
                    let is_hidden = |place: &usize| pass.hidden.get(*place) == Some(&true);
                    let message = if pass.chain.iter().any(is_hidden) {
                        format!("{NOT_SHOWN} is part of a placeholder that stands for nothing")
                    } else {
                        message
                    };
                    let Setting { key, origin, .. } = &entry.setting;
                    self.faults.push(Fault::new(origin, key, message));
                    for place in std::mem::take(&mut pass.chain) {
                        pass.set(place, Expanded::Bad);
                    }
                }
            }
            if pass.total > MAX_TEXT {
                return Err(Stop);
            }
        }
        let Placeholders { list, text, hidden, .. } = pass;
        for ((entry, text), hidden) in list.iter_mut().zip(text).zip(hidden) {
            entry.setting.hidden = hidden;
            if let Expanded::Done(text) = text
                && !is_raw(&entry.setting.key, entry.literal)
            {
                entry.setting.value = text.to_string();
            }
        }
        Ok(())
    }
}

enum Expanded {
    Raw,
    Done(Rc<str>),
    /// It has a fault, which was reported; texts that use it are not reported again.
    Bad,
}

/// Why a place has no expanded text.
enum NoText {
    /// It uses a place with a fault, which was reported.
    Reported,
    /// It has a fault itself.
    Failed(Failed),
}

impl From<Failed> for NoText {
    fn from(message: Failed) -> Self {
        Self::Failed(message)
    }
}

struct Placeholders<'l> {
    list: &'l mut [Entry],
    /// The first place of each name.
    places: HashMap<String, usize>,
    longest: usize,
    /// What the text of each place is expanded to.
    text: Vec<Expanded>,
    /// Whether the text of each place has a part that no message may repeat.
    hidden: Vec<bool>,
    /// The places whose texts are being expanded.
    chain: Vec<usize>,
    total: usize,
}

impl Placeholders<'_> {
    fn set(&mut self, place: usize, text: Expanded) {
        if let Some(slot) = self.text.get_mut(place) {
            *slot = text;
        }
    }

    /// The expanded text of a place.
    fn text_of(&mut self, place: usize, used: &mut HashSet<String>) -> Result<Rc<str>, NoText> {
        match self.text.get(place) {
            Some(Expanded::Done(text)) => return Ok(Rc::clone(text)),
            Some(Expanded::Bad) => return Err(NoText::Reported),
            _ => {}
        }
        if self.chain.contains(&place) {
            let path = self.path(place);
            return Err(format!("a placeholder leads back to itself: {path}").into());
        }
        if self.chain.len() >= MAX_EXPANSION_DEPTH {
            let message =
                format!("placeholders stand for placeholders more than {MAX_EXPANSION_DEPTH} deep");
            return Err(message.into());
        }
        self.chain.push(place);
        let raw = self.list.get(place).map(|entry| entry.setting.value.clone()).unwrap_or_default();
        let text = marks(&raw, "%(", |name| self.placeholder(name, used))?;
        self.chain.pop();
        self.total += text.len();
        if self.total > MAX_TEXT {
            return Err(EXPANSION_TOO_LONG.to_owned().into());
        }
        let text: Rc<str> = text.into();
        self.set(place, Expanded::Done(Rc::clone(&text)));
        Ok(text)
    }

    fn placeholder(
        &mut self,
        text: &str,
        used: &mut HashSet<String>,
    ) -> Result<Option<String>, NoText> {
        let text = text.trim();
        let mut named = |name: &str| {
            // A look-up reads the whole name, and the text of a mark may be very long.
            let place =
                (name.len() <= self.longest).then(|| self.places.get(name).copied()).flatten();
            let Some(place) = place else { return Ok(None) };
            used.insert(name.to_owned());
            let text = self.text_of(place, used)?;
            if self.hidden.get(place) == Some(&true)
                && let Some(user) = self.chain.last().and_then(|user| self.hidden.get_mut(*user))
            {
                *user = true;
            }
            Ok(Some(text.to_string()))
        };
        match named(text)? {
            None if text.contains([' ', '\t']) => arithmetic::evaluate(text, named).map(Some),
            value => Ok(value),
        }
    }

    fn path(&self, back_to: usize) -> String {
        let inside = self.chain.iter().skip_while(|place| **place != back_to);
        let places = inside.chain([&back_to]).filter_map(|place| self.list.get(*place));
        let shown: Vec<String> = places
            .map(|entry| format!("%({}) at {}", entry.setting.key, entry.setting.origin))
            .collect();
        shown.join(" → ")
    }
}

/// Replaces each `mark…)` by the value that `with` gives for the text inside. Without a value the mark stays, and
/// marks inside it are replaced on their own. Parentheses inside a mark must be in pairs.
fn marks<E: From<Failed>>(
    text: &str,
    mark: &str,
    mut with: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<String, E> {
    let mut out = String::with_capacity(text.len());
    let closing = Closing::of(text);
    let mut rest = text;
    let mut kept = 0;
    while let Some((before, after)) = rest.split_once(mark) {
        out.push_str(before);
        let start = text.len() - after.len();
        let inside = closing.after(start).and_then(|end| text.get(start..end));
        let value = match inside {
            Some(inside) => with(inside)?,
            None => None,
        };
        match (value, inside) {
            (Some(value), Some(inside)) => {
                out.push_str(&value);
                rest = after.get(inside.len() + 1..).unwrap_or_default();
            }
            _ => {
                kept += 1;
                if kept > MAX_MARKS_KEPT {
                    return Err(format!(
                        "more than {MAX_MARKS_KEPT} times '{mark}' without a value"
                    )
                    .into());
                }
                out.push_str(mark);
                rest = after;
            }
        }
        if out.len() > 2 * MAX_TEXT {
            // The caller reports that the limit of the list is exceeded; here the text only has to stop growing.
            break;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The offsets of all pairs of parentheses of a text, found in one pass.
struct Closing(Vec<(usize, usize)>);

impl Closing {
    fn of(text: &str) -> Self {
        let mut open = Vec::new();
        let mut pairs = Vec::new();
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'(' => open.push(at),
                b')' => pairs.extend(open.pop().map(|start| (start, at))),
                _ => {}
            }
        }
        pairs.sort_unstable();
        Self(pairs)
    }

    /// The offset of the parenthesis that closes the one just before this offset.
    fn after(&self, offset: usize) -> Option<usize> {
        let at = self.0.binary_search_by_key(&(offset - 1), |pair| pair.0).ok()?;
        self.0.get(at).map(|pair| pair.1)
    }
}

/// Whether it can be the name of a variable: a letter or underscore, then letters, digits, underscores.
fn is_variable(name: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    name.bytes().all(|byte| is_word(&byte))
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// Whether a value is not expanded: its directive has acted already, or `set-ph` has made it.
fn is_raw(key: &str, literal: bool) -> bool {
    if literal {
        return true;
    }
    match opts::find(key).map(|opt| opt.class) {
        Some(Class::Directive(Directive::Inherit | Directive::Print)) | None => false,
        Some(Class::Directive(_)) => true,
        Some(_) => false,
    }
}
