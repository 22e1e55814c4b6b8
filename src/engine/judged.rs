//! The facts on which the commands of a batch were judged, and which commands must therefore be committed
//! together. Kept only for a store that other servers change as well.

use std::collections::HashMap;

use crate::{protocol::StreamName, storage::Expect};

/// Something that a command was judged on: a staged stream, by its index, or an absent name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Stream(usize),
    Absent(StreamName),
}

/// Commands and the subjects they share, as a union-find: one tree for each group.
#[derive(Debug, Default)]
pub(super) struct Judged {
    nodes: Vec<Node>,
    by_subject: HashMap<Subject, usize>,
    /// A node of the group of each command, in order; `None` for one judged on no stream at all.
    commands: Vec<Option<usize>>,
}

#[derive(Debug)]
struct Node {
    parent: usize,
    subject: Subject,
    expects: Vec<Expect>,
}

/// The groups of a batch, numbered from 0.
#[derive(Debug)]
pub(super) struct Partition {
    /// The expectations of each group.
    pub(super) expects: Vec<Vec<Expect>>,
    /// The group of each staged stream.
    pub(super) streams: HashMap<usize, usize>,
    /// The group of each command.
    pub(super) commands: Vec<Option<usize>>,
}

impl Judged {
    pub(super) fn next_command(&mut self) {
        self.commands.push(None);
    }

    /// The command at hand is judged on `subject`. `expect` applies when the batch first sees it.
    pub(super) fn on(&mut self, subject: Subject, expect: impl FnOnce() -> Option<Expect>) {
        let node = match self.by_subject.get(&subject) {
            Some(node) => *node,
            None => {
                let node = self.nodes.len();
                self.by_subject.insert(subject.clone(), node);
                self.nodes.push(Node {
                    parent: node,
                    subject,
                    expects: expect().into_iter().collect(),
                });
                node
            }
        };
        let Some(command) = self.commands.last_mut() else {
            return;
        };
        let other = *command.get_or_insert(node);
        self.join(node, other);
    }

    /// Adds an expectation about a stream that the command at hand was judged on.
    pub(super) fn expect(&mut self, stream: usize, expect: Expect) {
        let node = self.by_subject.get(&Subject::Stream(stream));
        if let Some(node) = node.and_then(|node| self.nodes.get_mut(*node)) {
            node.expects.push(expect);
        }
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if let Some(node) = self.nodes.get_mut(one.max(other)) {
            node.parent = one.min(other);
        }
    }

    fn root(&self, mut node: usize) -> usize {
        while let Some(parent) = self
            .nodes
            .get(node)
            .map(|node| node.parent)
            .filter(|parent| *parent != node)
        {
            node = parent;
        }
        node
    }

    pub(super) fn partition(&self) -> Partition {
        let mut numbers = HashMap::new();
        let (mut expects, mut streams) = (Vec::<Vec<Expect>>::new(), HashMap::new());
        for (index, node) in self.nodes.iter().enumerate() {
            let next = expects.len();
            let group = *numbers.entry(self.root(index)).or_insert(next);
            if group == next {
                expects.push(Vec::new());
            }
            if let Some(expects) = expects.get_mut(group) {
                expects.extend(node.expects.iter().cloned());
            }
            if let Subject::Stream(stream) = node.subject {
                streams.insert(stream, group);
            }
        }
        let group_of = |node: &Option<usize>| numbers.get(&self.root((*node)?)).copied();
        Partition {
            commands: self.commands.iter().map(group_of).collect(),
            expects,
            streams,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rev(id: u64) -> Option<Expect> {
        Some(Expect::Rev { id, rev: 1 })
    }

    #[test]
    fn commands_that_share_a_stream_share_a_group() {
        let mut judged = Judged::default();
        let commands: [&[usize]; 5] = [&[0], &[1], &[2, 3], &[], &[3, 1]];
        for streams in commands {
            judged.next_command();
            for stream in streams {
                judged.on(Subject::Stream(*stream), || rev(*stream as u64));
            }
        }
        let partition = judged.partition();
        assert_eq!(partition.commands, [Some(0), Some(1), Some(1), None, Some(1)]);
        assert_eq!(partition.expects.len(), 2);
        // Each stream is expected once, however many commands were judged on it.
        assert_eq!(partition.expects[1].len(), 3);
        assert_eq!(partition.streams[&2], 1);
    }

    #[test]
    fn an_absent_name_is_expected_to_stay_absent() {
        let mut judged = Judged::default();
        judged.next_command();
        let name = StreamName::new("a").unwrap();
        judged.on(Subject::Absent(name.clone()), || {
            Some(Expect::Absent { name: name.clone() })
        });
        judged.on(Subject::Stream(0), || None);
        let partition = judged.partition();
        assert_eq!(partition.expects, [vec![Expect::Absent { name }]]);
        assert_eq!(partition.streams[&0], 0);
    }
}
