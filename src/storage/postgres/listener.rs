//! The connection that listens for notifications.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{Core, failure::Failure, notifier::Message, outcome::get, session};

/// How often the connection is looked at, and the wait before another one.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the listener tells.
pub(super) enum Event {
    /// It listens. Whether anything arrives is another question.
    Listening,
    Message(Message),
}

/// Listens, again and again.
pub(super) async fn listen(core: Arc<Core>, events: mpsc::Sender<Event>) {
    loop {
        if let Err(failure) = listen_once(&core, &events).await {
            tracing::debug!(%failure, "the connection for notifications was lost; will retry");
        }
        tokio::time::sleep(INTERVAL).await;
        if events.is_closed() {
            return;
        }
    }
}

async fn listen_once(core: &Core, events: &mpsc::Sender<Event>) -> Result<(), Failure> {
    const CHANNEL: &str = "select name from durable_streams.channel";
    // A restored database may have another channel.
    let history = core.connections.history();
    let channels = core.connections.read(CHANNEL, &[]).await?;
    let channel = channels
        .first()
        .ok_or_else(|| Failure::Malformed("no channel".to_owned()))?;
    let channel = get::<&str>(channel, 0)?.replace('"', "\"\"");
    let notify = events.clone();
    let on_notification = Box::new(move |notification: tokio_postgres::Notification| {
        if let Some(message) = Message::decode(notification.payload()) {
            // If there is no room, the log has it.
            let _ = notify.try_send(Event::Message(message));
        }
    });
    let client = session::connect(&core.listen, Some(on_notification), ()).await?;
    client.batch_execute(&format!("listen \"{channel}\"")).await?;
    let _ = events.send(Event::Listening).await;
    while !client.is_closed() && !events.is_closed() && core.connections.history() == history {
        tokio::time::sleep(INTERVAL).await;
        // A connection that was cut silently is noticed by a statement.
        tokio::time::timeout(Duration::from_secs(5), client.batch_execute(""))
            .await
            .map_err(|_| Failure::Lost("no answer".to_owned()))??;
    }
    Ok(())
}
