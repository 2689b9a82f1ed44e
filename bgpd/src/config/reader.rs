//! A table of the document, read key by key.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnosis::Problems;
use super::value::FromToml;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// Name of the outermost section.
const DOCUMENT: &str = "the document";

/// A table whose keys are asked for one after the other. What nobody asked for is unknown.
pub(super) struct Section<'a> {
    name: &'static str,
    table: &'a DeTable<'a>,
    pub(super) span: Range<usize>,
    asked: Vec<&'static str>,
    /// Keys that are there with a value that is not right.
    wrong: Vec<&'static str>,
}

impl<'a> Section<'a> {
    fn new(name: &'static str, table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        Self { name, table, span, asked: Vec::new(), wrong: Vec::new() }
    }

    /// The document itself.
    pub(super) fn document(table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        Self::new(DOCUMENT, table, span)
    }

    /// A neighbor that does not stand in a file.
    pub(super) fn neighbor(table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        Self::new("the neighbor", table, span)
    }

    fn raw(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// The value of a key, if it is there and right.
    pub(super) fn get<T: FromToml>(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<At<T>> {
        let value = self.raw(key)?;
        let span = value.span();
        match T::from_toml(value.get_ref()) {
            Ok(value) => Some(At { value, span }),
            Err(wrong) => {
                self.wrong.push(key);
                problems.error(span, format!("{key}: {}", wrong.message), wrong.help);
                None
            }
        }
    }

    /// The value of a key without its place.
    pub(super) fn value<T: FromToml>(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<T> {
        self.get(key, problems).map(|at| at.value)
    }

    /// The value of a key that must be there.
    pub(super) fn need<T: FromToml>(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Problems<'_>,
    ) -> Option<At<T>> {
        if !self.has(key) {
            self.asked.push(key);
            let message = format!("{} has no {key}", self.name);
            problems.error(self.span.clone(), message, format!("add {key} = {example}"));
            return None;
        }
        self.get(key, problems)
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// Whether one of some keys has a value that is not right: what follows from it would be wrong as well.
    pub(super) fn is_wrong(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.wrong.contains(key))
    }

    /// A list; every wrong entry is a problem of its own, and then there is no list.
    pub(super) fn list<T: FromToml>(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<Vec<At<T>>> {
        let value = self.raw(key)?;
        let Some(array) = value.get_ref().as_array() else {
            let found = value.get_ref().type_str();
            let help = format!("write {key} = [...]");
            problems.error(value.span(), format!("{key}: expected a list, found {}", article(found)), help);
            return None;
        };
        let mut all = Vec::new();
        for entry in array.iter() {
            match T::from_toml(entry.get_ref()) {
                Ok(value) => all.push(At { value, span: entry.span() }),
                Err(wrong) => problems.error(entry.span(), format!("{key}: {}", wrong.message), wrong.help),
            }
        }
        (all.len() == array.len()).then_some(all)
    }

    /// `[key]`.
    pub(super) fn table(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<Section<'a>> {
        let value = self.raw(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(section_name(key), table, self.heading(key, value))),
            None => {
                let found = article(value.get_ref().type_str());
                problems.error(
                    value.span(),
                    format!("{key}: expected a table, found {found}"),
                    format!("write [{key}]"),
                );
                None
            }
        }
    }

    /// `[[key]]`, any number of times.
    pub(super) fn tables(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Vec<Section<'a>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            let help = format!("write [[{key}]] with two brackets: there can be several");
            problems.error(self.heading(key, value), format!("{key}: expected a list of tables"), help);
            return Vec::new();
        };
        let mut all = Vec::new();
        for entry in array.iter() {
            match entry.get_ref().as_table() {
                Some(table) => all.push(Section::new(section_name(key), table, entry.span())),
                None => problems.error(entry.span(), format!("{key}: expected a table"), format!("write [[{key}]]")),
            }
        }
        all
    }

    /// Where a table begins: at its key if its own place is not known.
    fn heading(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Range<usize> {
        let named = self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, _)| name.span());
        if value.span().is_empty() { named.unwrap_or_default() } else { value.span() }
    }

    /// Where the first of some keys stands that is there; the whole section if none is.
    pub(super) fn place(&self, keys: &[&str]) -> Range<usize> {
        let find = |key: &&str| self.table.iter().find(|(name, _)| name.get_ref() == *key).map(|(name, _)| name.span());
        keys.iter().find_map(find).unwrap_or_else(|| self.span.clone())
    }

    /// Says which keys nobody asked for.
    pub(super) fn finish(self, problems: &mut Problems<'_>) {
        self.report_unknown(problems);
    }

    /// As [`Section::finish`], where others still use the section.
    pub(super) fn report_unknown(&self, problems: &mut Problems<'_>) {
        for (name, value) in self.table.iter() {
            let key = name.get_ref().as_ref();
            let is_section = value.get_ref().is_table() || value.get_ref().is_array();
            let what = if self.name == DOCUMENT && is_section { "section" } else { "key" };
            if !self.asked.contains(&key) {
                let help = match nearest(key, self.asked.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None if what == "key" && self.name == DOCUMENT => {
                        "write it below its heading, such as [global]".to_owned()
                    }
                    None => format!("{} knows {}", self.name, self.asked.join(", ")),
                };
                problems.error(name.span(), format!("unknown {what} \"{key}\""), help);
            }
        }
    }
}

fn section_name(key: &str) -> &'static str {
    match key {
        "global" => "[global]",
        "api" => "[api]",
        "tls" => "[api.tls]",
        "log" => "[log]",
        "metrics" => "[metrics]",
        "restart" => "[restart]",
        "cluster" => "this [[cluster]]",
        "peer-group" => "this [[peer-group]]",
        "neighbor" => "this [[neighbor]]",
        "dynamic-neighbors" => "this [[dynamic-neighbors]]",
        "prefix-set" => "this [[prefix-set]]",
        "as-path-set" => "this [[as-path-set]]",
        "community-set" => "this [[community-set]]",
        "neighbor-set" => "this [[neighbor-set]]",
        "policy" => "this [[policy]]",
        "filter" => "this [[filter]]",
        "rpki" => "this [[rpki]]",
        "ao-key" => "this [[ao-key]]",
        "statement" => "this [[policy.statement]]",
        "match" => "match",
        "set" => "set",
        _ => "this [[originate]]",
    }
}

/// `a string`, `an integer`.
pub(super) fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// The word that is most like `text`, or that `text` is a part of, if there is one.
pub(super) fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str> + Clone) -> Option<&'w str> {
    let distances = words.clone().map(|word| (strsim::damerau_levenshtein(text, word), word));
    let near = distances.min_by_key(|(distance, _)| *distance);
    let near = near.filter(|(distance, word)| *distance <= word.len().max(3) / 3).map(|(_, word)| word);
    near.or_else(|| words.into_iter().find(|word| text.len() >= 3 && word.contains(text)))
}
