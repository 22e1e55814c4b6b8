//! Which subscriptions a stream concerns: explicit names in a map, patterns in a tree by segment. A
//! lookup follows the name's own segments, however many subscriptions and streams there are.

use std::{collections::HashMap, sync::Arc};

use super::pattern::{Pattern, Segment};
use crate::protocol::StreamName;

/// The id of a subscription.
pub(super) type Id = Arc<str>;

#[derive(Default)]
pub(super) struct Index {
    names: HashMap<StreamName, Vec<Id>>,
    patterns: Node,
}

#[derive(Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    one: Option<Box<Node>>,
    any: Option<Box<Node>>,
    /// Reached by a `**`, which may match more segments.
    repeats: bool,
    /// Patterns that end here.
    ids: Vec<Id>,
}

impl Index {
    pub(super) fn add_name(&mut self, name: &StreamName, id: &Id) {
        add(self.names.entry(name.clone()).or_default(), id);
    }

    pub(super) fn remove_name(&mut self, name: &StreamName, id: &Id) {
        if let Some(ids) = self.names.get_mut(name) {
            ids.retain(|known| known != id);
            if ids.is_empty() {
                self.names.remove(name);
            }
        }
    }

    pub(super) fn add_pattern(&mut self, pattern: &Pattern, id: &Id) {
        let mut node = &mut self.patterns;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Literal(literal) => node.literals.entry(literal.clone()).or_default(),
                Segment::One => node.one.get_or_insert_default(),
                Segment::Any => {
                    let any = node.any.get_or_insert_default();
                    any.repeats = true;
                    any
                }
            };
        }
        add(&mut node.ids, id);
    }

    pub(super) fn remove_pattern(&mut self, pattern: &Pattern, id: &Id) {
        self.patterns.remove(pattern.segments(), id);
    }

    /// Whether a name concerns any subscription.
    pub(super) fn concerns_any(&self, name: &StreamName) -> bool {
        self.names.contains_key(name) || self.patterns.matching(name).iter().any(|node| !node.ids.is_empty())
    }

    /// The subscriptions that a name concerns, by its name or by their pattern.
    pub(super) fn concerned(&self, name: &StreamName) -> Vec<Id> {
        let mut ids = self.names.get(name).cloned().unwrap_or_default();
        for node in self.patterns.matching(name) {
            ids.extend(node.ids.iter().cloned());
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

fn add(ids: &mut Vec<Id>, id: &Id) {
    if !ids.contains(id) {
        ids.push(Arc::clone(id));
    }
}

impl Node {
    /// The nodes where patterns end that match a name.
    fn matching<'n>(&'n self, name: &StreamName) -> Vec<&'n Self> {
        let mut at = Vec::new();
        self.enter(&mut at);
        for segment in name.key().split('/') {
            let mut next: Vec<&Self> = Vec::new();
            for node in at {
                if node.repeats {
                    node.enter(&mut next);
                }
                if let Some(child) = node.literals.get(segment) {
                    child.enter(&mut next);
                }
                if let Some(child) = &node.one {
                    child.enter(&mut next);
                }
            }
            at = next;
            if at.is_empty() {
                break;
            }
        }
        at
    }

    /// Adds the node, and those that follow when a `**` matches nothing.
    fn enter<'n>(&'n self, at: &mut Vec<&'n Self>) {
        let mut node = self;
        while !at.iter().any(|known| std::ptr::eq(*known, node)) {
            at.push(node);
            match &node.any {
                Some(any) => node = any,
                None => break,
            }
        }
    }

    fn remove(&mut self, segments: &[Segment], id: &Id) {
        let Some((first, rest)) = segments.split_first() else {
            return self.ids.retain(|known| known != id);
        };
        match first {
            Segment::Literal(literal) => {
                if let Some(child) = self.literals.get_mut(literal) {
                    child.remove(rest, id);
                    if child.is_unused() {
                        self.literals.remove(literal);
                    }
                }
            }
            Segment::One => Self::remove_below(&mut self.one, rest, id),
            Segment::Any => Self::remove_below(&mut self.any, rest, id),
        }
    }

    fn remove_below(child: &mut Option<Box<Self>>, rest: &[Segment], id: &Id) {
        if let Some(node) = child {
            node.remove(rest, id);
            if node.is_unused() {
                *child = None;
            }
        }
    }

    fn is_unused(&self) -> bool {
        self.ids.is_empty() && self.literals.is_empty() && self.one.is_none() && self.any.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn name(text: &str) -> StreamName {
        StreamName::new(text).unwrap()
    }

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn patterns_match_by_whole_segments() {
        for (text, matching, others) in [
            (
                "events/*",
                vec!["events/a"],
                vec!["events", "events/a/b", "event/a", "x/events/a"],
            ),
            (
                "events/**",
                vec!["events", "events/a", "events/a/b"],
                vec!["event", "x/events"],
            ),
            ("**/log", vec!["log", "a/log", "a/b/log"], vec!["log/a", "logs"]),
            ("a/**/b/*", vec!["a/b/x", "a/c/b/x", "a/b/b/x"], vec!["a/b", "a/x/b"]),
            ("**", vec!["a", "a/b", "gid://app/Room/1"], vec![]),
            (
                "gid:/app/Room/*/m",
                vec!["gid://app/Room/1/m"],
                vec!["gid://app/Post/1/m"],
            ),
            ("x/%2A", vec!["x/*"], vec!["x/y"]),
        ] {
            let mut index = Index::default();
            index.add_pattern(&pattern(text), &"s".into());
            for (names, expected) in [(matching, true), (others, false)] {
                for tried in names {
                    assert_eq!(pattern(text).matches(&name(tried)), expected, "{text} {tried}");
                    assert_eq!(index.concerns_any(&name(tried)), expected, "{text} {tried}");
                }
            }
        }
    }

    #[test]
    fn patterns_that_cannot_match_are_refused() {
        for text in [
            "",
            "/",
            "a*",
            "a/***",
            "__ds/**",
            "/__ds",
            "a/../b",
            "a\nb",
            &"a/".repeat(65),
        ] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_index_agrees_with_each_pattern_and_forgets_what_is_removed() {
        let random = Random::seeded(11);
        let pick = |from: &[&str]| from[random.between(0, from.len() as u64 - 1) as usize].to_owned();
        let path = |from: &[&str]| {
            let parts: Vec<String> = (0..random.between(1, 5)).map(|_| pick(from)).collect();
            parts.join("/")
        };
        let mut index = Index::default();
        let mut patterns = Vec::new();
        for n in 0..300 {
            let (id, pattern): (Id, _) = (n.to_string().into(), pattern(&path(&["a", "b", "*", "**"])));
            index.add_pattern(&pattern, &id);
            patterns.push((id, pattern));
        }
        while !patterns.is_empty() {
            for _ in 0..20 {
                let name = name(&path(&["a", "b", "c"]));
                let mut expected: Vec<Id> = patterns
                    .iter()
                    .filter(|(_, pattern)| pattern.matches(&name))
                    .map(|(id, _)| Arc::clone(id))
                    .collect();
                expected.sort_unstable();
                assert_eq!(index.concerned(&name), expected, "{name}");
            }
            let gone = random.between(0, patterns.len() as u64 - 1) as usize;
            let (id, pattern) = patterns.swap_remove(gone);
            index.remove_pattern(&pattern, &id);
        }
        assert!(index.patterns.is_unused());
    }
}
