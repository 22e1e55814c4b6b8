//! Commands, each with a reply of its own type, and the queue's view of them, without that type.

use tokio::sync::oneshot;

use super::{
    errors::Unavailable,
    transaction::{Landings, Transaction},
};
use crate::protocol::StreamName;

/// A change that the committer judges, commits and replies to.
pub(super) trait Command: Send + 'static {
    /// The answer to the sender, once the batch is committed.
    type Reply: Send + 'static;

    /// The bytes of content in it, which bound the queue and the batches.
    fn bytes(&self) -> usize {
        0
    }

    /// The stream that it looks up by name, if it does.
    fn name(&self) -> Option<&StreamName> {
        None
    }

    /// Judges the command against what the batch has staged so far, and stages its changes. A
    /// refused command stages nothing.
    fn stage(&self, tx: &mut Transaction<'_>) -> Self::Reply;

    /// Corrects a reply if the tail was further back than where it was judged.
    fn landed(&self, _reply: &mut Self::Reply, _landings: &Landings) {}
}

/// A queued command of any type.
pub(super) struct Request {
    command: Box<dyn Queued>,
    /// How often the streams that it was judged on had changed by the time of its commit.
    pub(super) moves: u32,
}

/// The reply to a command, once there is one.
pub(super) struct Reply<T>(oneshot::Receiver<Result<T, Unavailable>>);

impl<T> Reply<T> {
    pub(super) async fn wait(self) -> Result<T, Unavailable> {
        // A committer that panicked has dropped the sender.
        self.0.await.unwrap_or(Err(Unavailable::Stopping))
    }
}

impl Request {
    pub(super) fn new<C: Command>(command: C) -> (Self, Reply<C::Reply>) {
        let (sender, receiver) = oneshot::channel();
        (Self::with(command, Some(sender)), Reply(receiver))
    }

    /// A command without a reply.
    pub(super) fn unanswered<C: Command>(command: C) -> Self {
        Self::with(command, None)
    }

    fn with<C: Command>(command: C, sender: Option<oneshot::Sender<Result<C::Reply, Unavailable>>>) -> Self {
        let command = Pending {
            command,
            reply: None,
            sender,
        };
        Self {
            command: Box::new(command),
            moves: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.command.bytes()
    }

    pub(super) fn name(&self) -> Option<&StreamName> {
        self.command.name()
    }

    /// Judges the command; its reply is kept until [`Request::answer`].
    pub(super) fn stage(&mut self, tx: &mut Transaction<'_>) {
        self.command.stage(tx);
    }

    pub(super) fn landed(&mut self, landings: &Landings) {
        self.command.landed(landings);
    }

    pub(super) fn answer(self) {
        self.command.answer();
    }

    pub(super) fn refuse(self, why: Unavailable) {
        self.command.refuse(why);
    }
}

trait Queued: Send {
    fn bytes(&self) -> usize;
    fn name(&self) -> Option<&StreamName>;
    fn stage(&mut self, tx: &mut Transaction<'_>);
    fn landed(&mut self, landings: &Landings);
    fn answer(self: Box<Self>);
    fn refuse(self: Box<Self>, why: Unavailable);
}

struct Pending<C: Command> {
    command: C,
    reply: Option<C::Reply>,
    sender: Option<oneshot::Sender<Result<C::Reply, Unavailable>>>,
}

impl<C: Command> Queued for Pending<C> {
    fn bytes(&self) -> usize {
        self.command.bytes()
    }

    fn name(&self) -> Option<&StreamName> {
        self.command.name()
    }

    fn stage(&mut self, tx: &mut Transaction<'_>) {
        self.reply = Some(self.command.stage(tx));
    }

    fn landed(&mut self, landings: &Landings) {
        if let Some(reply) = &mut self.reply {
            self.command.landed(reply, landings);
        }
    }

    fn answer(self: Box<Self>) {
        // The receiver may be gone.
        if let (Some(sender), Some(reply)) = (self.sender, self.reply) {
            let _ = sender.send(Ok(reply));
        }
    }

    fn refuse(self: Box<Self>, why: Unavailable) {
        if let Some(sender) = self.sender {
            let _ = sender.send(Err(why));
        }
    }
}
