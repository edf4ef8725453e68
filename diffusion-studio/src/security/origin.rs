//! Where a request comes from.

use std::net::SocketAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method, Uri};

use crate::refusal::{Refusal, RefusalKind};

/// Refuse what other pages do in a visitor's name: requests that change something from an origin that was not allowed, and, on
/// the loopback, requests under a name that somebody else's name server gave this machine.
///
/// # Errors
/// [`RefusalKind::Forbidden`].
pub(super) fn check_origin(method: &Method, headers: &HeaderMap, listen: &SocketAddr, allowed: &[String]) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST.as_str());
    if listen.ip().is_loopback()
        && let Some(host) = host
        && !is_local(host)
        && !allowed.iter().any(|origin| host_of(origin).as_deref() == Some(host))
    {
        let message = "the server was asked under a name that is not its own; it listens on this machine alone";
        return Err(Refusal::new(RefusalKind::Forbidden, message));
    }
    if method.is_safe() {
        return Ok(());
    }
    let is_foreign = match text(ORIGIN.as_str()) {
        Some(origin) => {
            let same = host.is_some() && host_of(origin).as_deref() == host;
            !same && !allowed.iter().any(|known| known.trim_end_matches('/') == origin)
        }
        // Browsers that send no origin with a form say this.
        None => text("sec-fetch-site").is_some_and(|site| site == "cross-site"),
    };
    if is_foreign {
        return Err(Refusal::new(RefusalKind::Forbidden, "requests from pages of other sites are refused"));
    }
    Ok(())
}

/// The host and port of an origin.
fn host_of(origin: &str) -> Option<String> {
    origin.parse::<Uri>().ok()?.authority().map(|authority| authority.as_str().to_owned())
}

/// Whether a host, with or without a port, is this machine.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, headers: &[(&'static str, &str)], listen: &str) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        check_origin(&method, &headers, &listen.parse().unwrap(), &["https://studio.example".to_owned()]).is_ok()
    }

    const LOCAL: &str = "127.0.0.1:7860";
    const OPEN: &str = "0.0.0.0:7860";

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let own = [("host", "localhost:7860"), ("origin", "http://localhost:7860")];
        let foreign = [("host", "localhost:7860"), ("origin", "http://evil.example")];
        let allowed = [("host", "10.1.2.3:7860"), ("origin", "https://studio.example")];
        assert!(check(Method::POST, &own, LOCAL));
        assert!(check(Method::POST, &allowed, OPEN));
        assert!(!check(Method::POST, &foreign, LOCAL));
        assert!(!check(Method::DELETE, &foreign, OPEN));
        assert!(!check(Method::POST, &[("host", "localhost"), ("origin", "null")], LOCAL));
        assert!(!check(Method::POST, &[("host", "localhost"), ("sec-fetch-site", "cross-site")], LOCAL));
        // Programs send neither.
        assert!(check(Method::POST, &[("host", "127.0.0.1:7860")], LOCAL));
        assert!(check(Method::GET, &foreign, LOCAL));
    }

    #[test]
    fn on_the_loopback_only_names_of_this_machine_count() {
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:7860", "[::1]:7860", "studio.example", "a.localhost:80"] {
            assert!(check(Method::GET, &[("host", host)], LOCAL), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7860"] {
            assert!(!check(Method::GET, &[("host", host)], LOCAL), "{host}");
            assert!(check(Method::GET, &[("host", host)], OPEN), "{host}");
        }
    }
}
