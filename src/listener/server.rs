//! The server: starts listeners, counts their connections together and shuts them down together.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    accept::{AcceptPolicy, accept_connections},
    bind::Listener,
    http_service::HttpService,
    shared::Shared,
    shutdown::Drained,
    tls::{context::TlsContext, reload::keep_current},
};
use crate::{clock::Clock, engine::LimitsConfig, listener::ConnectionConfig, telemetry::Metrics};

/// Serves any number of listeners.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// A server without listeners.
    #[must_use]
    pub fn new(limits: &LimitsConfig, connection: &ConnectionConfig, clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared::new(limits, connection, clock)),
        }
    }

    /// Counts connections in `metrics`. Call it before serving.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<Metrics>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.metrics = Some(metrics);
        }
        self
    }

    /// Exempts these peers from `limits.max_connections_per_address`, because each of them carries
    /// many clients. Call it before serving.
    #[must_use]
    pub fn with_trusted_proxies(mut self, proxies: &[IpNet]) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.connections.set_proxies(proxies);
        }
        self
    }

    /// Serves plain HTTP/1.1 to everyone.
    pub fn serve_public<S: HttpService>(&self, listener: Listener, app: S) {
        self.serve(listener, app, AcceptPolicy::public());
    }

    /// Serves HTTP/1.1 and HTTP/2 over TLS; the client chooses from the context's ALPN names. The
    /// certificates of `context` are kept current as long as the server runs.
    pub fn serve_tls<S: HttpService>(&self, listener: Listener, context: TlsContext, app: S) {
        let stop = self.stopping();
        let keep_current = keep_current(
            context.clone(),
            Arc::clone(&self.shared.reload_certificates),
            self.shared.clock.clone(),
        );
        self.shared.tasks.spawn(async move {
            stop.run_until_cancelled(keep_current).await;
        });
        self.serve(listener, app, AcceptPolicy::tls(context));
    }

    /// Serves plain HTTP/1.1 to the TCP peers in `allowed_ips`. All others get 403, whatever they
    /// send.
    pub fn serve_internal<S: HttpService>(&self, listener: Listener, allowed_ips: Vec<IpNet>, app: S) {
        self.serve(listener, app, AcceptPolicy::internal(allowed_ips));
    }

    fn serve<S: HttpService>(&self, listener: Listener, app: S, policy: AcceptPolicy) {
        self.shared
            .tasks
            .spawn(accept_connections(listener, policy, app, Arc::clone(&self.shared)));
    }

    /// Reads the TLS files now instead of after `transport.tls.reload_secs`.
    pub fn reload_certificates(&self) {
        self.shared.reload_certificates.notify_one();
    }

    /// Cancelled when the shutdown begins: long responses, such as live reads, should end then.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.shared.stop.token().clone()
    }

    /// The number of tasks: one for each connection and listener.
    #[cfg(test)]
    pub(super) fn open_connections(&self) -> usize {
        self.shared.tasks.len()
    }

    #[cfg(test)]
    pub(super) fn charged_response_bytes(&self) -> usize {
        self.shared.responses.charged()
    }

    /// Stops accepting, lets every connection finish the requests that have reached it, and cuts
    /// those that are still open after `grace_period`.
    pub async fn drain(&self, grace_period: Duration) -> Drained {
        self.shared.stop.send();
        self.shared.tasks.close();
        if timeout(grace_period, self.shared.tasks.wait()).await.is_err() {
            self.shared.cut.send();
            // The signal wakes every task, which then ends.
            self.shared.tasks.wait().await;
        }
        Drained {
            cut: self.shared.cut_connections(),
        }
    }
}
