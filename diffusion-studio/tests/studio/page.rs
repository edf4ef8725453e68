//! The files of the page.

use reqwest::{Method, StatusCode};

use crate::client::Server;

#[tokio::test]
async fn the_page_takes_nothing_from_elsewhere_and_all_that_it_names_is_there() {
    let server = Server::start().await;
    let user = server.program();
    let index = String::from_utf8(user.bytes("/").await).unwrap();
    let named: Vec<&str> = index.split(['"', '\'']).filter(|text| text.starts_with("/assets/")).collect();
    assert!(named.len() > 3, "{named:?}");
    for path in &named {
        user.bytes(path).await;
    }
    for mark in ["http://", "https://", "<style", "style=\"", "onclick", "javascript:"] {
        assert!(!index.replace("http://www.w3.org/2000/svg", "").contains(mark), "the page has {mark}");
    }
}

#[tokio::test]
async fn a_browser_that_has_a_file_is_not_sent_it_again() {
    let server = Server::start().await;
    let user = server.program();
    let first = user.send(Method::GET, "/", None).await;
    let tag = first.headers()["etag"].clone();
    let again = user.request(Method::GET, "/").header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
}
