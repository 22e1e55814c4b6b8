//! Which subscriptions a stream concerns: explicit names in a map, patterns in a tree by segment. A
//! lookup follows the name's own segments, however many subscriptions and streams there are.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc};

use rustc_hash::FxHashSet;

use super::pattern::{Pattern, Segment};
use crate::protocol::StreamName;

/// The id of a subscription.
pub(super) type Id = Arc<str>;

/// The longest walk through the patterns for one name, so that the committer does not wait. One pattern
/// never takes as long. Thousands can that have `*` and literals at the same places before a `**`.
const MAX_STEPS: usize = 50_000;

#[derive(Default)]
pub(super) struct Index {
    names: HashMap<StreamName, Vec<Id>>,
    patterns: Node,
}

#[derive(Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    one: Option<Box<Node>>,
    /// After a `**`, which may match more segments.
    any: Option<Box<Node>>,
    /// Patterns that end here.
    ids: Vec<Id>,
}

/// The nodes that a walk has reached after some segments of a name, each once: a node is entered only
/// from the one above it.
#[derive(Default)]
struct Reached<'n> {
    nodes: Vec<&'n Node>,
    /// Those after a `**`, which stay reached. The node above may be entered again.
    repeating: Vec<&'n Node>,
    entered: FxHashSet<*const Node>,
}

impl<'n> Reached<'n> {
    /// Enters a node, and the one that follows if a `**` matches nothing. Visits the ids of a pattern that
    /// matches whatever follows in the name.
    fn enter(&mut self, node: &'n Node, visit: &mut impl FnMut(&[Id]) -> ControlFlow<()>) -> ControlFlow<()> {
        self.nodes.push(node);
        match node.any.as_deref() {
            Some(any) if self.entered.insert(std::ptr::from_ref(any)) => {
                if any.has_children() {
                    self.repeating.push(any);
                }
                match any.ids.is_empty() {
                    true => ControlFlow::Continue(()),
                    false => visit(&any.ids),
                }
            }
            _ => ControlFlow::Continue(()),
        }
    }
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
                Segment::Any => node.any.get_or_insert_default(),
            };
        }
        add(&mut node.ids, id);
    }

    pub(super) fn remove_pattern(&mut self, pattern: &Pattern, id: &Id) {
        self.patterns.remove(pattern.segments(), id);
    }

    /// Whether a name may concern any subscription.
    pub(super) fn concerns_any(&self, name: &StreamName) -> bool {
        self.names.contains_key(name) || self.patterns.walk(name, |_| ControlFlow::Break(())).is_break()
    }

    /// The subscriptions that a name concerns, by its name or by their pattern.
    pub(super) fn concerned(&self, name: &StreamName) -> Concerned {
        let mut ids = self.names.get(name).cloned().unwrap_or_default();
        let walk = self.patterns.walk(name, |found| {
            ids.extend(found.iter().cloned());
            ControlFlow::Continue(())
        });
        ids.sort_unstable();
        ids.dedup();
        let is_complete = walk.is_continue();
        Concerned { ids, is_complete }
    }
}

/// The subscriptions that a name concerns.
pub(super) struct Concerned {
    pub(super) ids: Vec<Id>,
    /// Whether the name was compared with all patterns.
    pub(super) is_complete: bool,
}

fn add(ids: &mut Vec<Id>, id: &Id) {
    if !ids.contains(id) {
        ids.push(Arc::clone(id));
    }
}

impl Node {
    /// Visits the ids of the patterns that match a name. Breaks off with the visitor, and after
    /// [`MAX_STEPS`].
    fn walk(&self, name: &StreamName, mut visit: impl FnMut(&[Id]) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut reached = Reached::default();
        reached.enter(self, &mut visit)?;
        let mut steps = 0;
        for segment in name.key().split('/') {
            let mut nodes = std::mem::take(&mut reached.nodes);
            nodes.extend_from_slice(&reached.repeating);
            steps += nodes.len();
            if steps > MAX_STEPS {
                return ControlFlow::Break(());
            }
            for node in nodes {
                for child in node.literals.get(segment).into_iter().chain(node.one.as_deref()) {
                    reached.enter(child, &mut visit)?;
                }
            }
        }
        let ends = reached.nodes.iter().filter(|node| !node.ids.is_empty());
        ends.map(|node| &node.ids).try_for_each(|ids| visit(ids))
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

    fn has_children(&self) -> bool {
        !self.literals.is_empty() || self.one.is_some() || self.any.is_some()
    }

    fn is_unused(&self) -> bool {
        self.ids.is_empty() && !self.has_children()
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

    /// All patterns of this many segments of `a` and `*`, with an end.
    fn mixed(segments: u32, end: &str) -> Index {
        let mut index = Index::default();
        for number in 0..1_u32 << segments {
            let segment = |at: u32| if number >> at & 1 == 0 { "a/" } else { "*/" };
            let text: String = (0..segments).map(segment).collect();
            index.add_pattern(&pattern(&(text + end)), &number.to_string().into());
        }
        index
    }

    #[test]
    fn many_patterns_that_match_at_once_take_a_limited_time() {
        let long = |segments: usize, end: &str| name(&("a/".repeat(segments) + end));
        let rest = mixed(10, "**").concerned(&long(500, "z"));
        assert!(rest.is_complete && rest.ids.len() == 1024);
        let index = mixed(10, "**/z");
        let short = index.concerned(&long(40, "z"));
        assert!(short.is_complete && short.ids.len() == 1024);
        assert!(!index.concerns_any(&long(40, "y")));
        assert!(!index.concerned(&long(500, "z")).is_complete);
        assert!(index.concerns_any(&long(500, "z")));
        let mut one = Index::default();
        one.add_pattern(&pattern(&format!("**{}", "/*".repeat(63))), &"s".into());
        assert!(one.concerned(&long(510, "z")).is_complete);
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
                assert_eq!(index.concerned(&name).ids, expected, "{name}");
            }
            let gone = random.between(0, patterns.len() as u64 - 1) as usize;
            let (id, pattern) = patterns.swap_remove(gone);
            index.remove_pattern(&pattern, &id);
        }
        assert!(index.patterns.is_unused());
    }
}
