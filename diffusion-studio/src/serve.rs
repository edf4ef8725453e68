//! Serving until told to end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::router::router;
use crate::studio::Studio;

/// How long connections may take to end when the server has.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Serve until `signal`: then no more jobs are taken, the running one ends or is handed back, and everything is stored.
///
/// # Errors
/// Those of the listener.
pub async fn serve(studio: Studio, listener: TcpListener, signal: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let app = router(&studio).into_make_service_with_connect_info::<SocketAddr>();
    let ended = studio.clone();
    let shutdown = async move {
        signal.await;
        tracing::info!("ending: no more jobs are taken");
        ended.shut_down().await;
    };
    let serving = async { axum::serve(listener, app).with_graceful_shutdown(shutdown).await };
    let late = async {
        studio.ending().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        served = serving => served?,
        () = late => tracing::warn!("some connections did not end in time"),
    }
    studio.close().await;
    Ok(())
}

/// Draw for others until `signal`: then the running job ends or is handed back.
pub async fn work(studio: Studio, signal: impl Future<Output = ()> + Send) {
    signal.await;
    tracing::info!("ending: no more jobs are taken");
    studio.shut_down().await;
    studio.close().await;
}
