use super::support::{TIMEOUT, bind};
use crate::listener::{Listener, bind::BindError};

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = bind("127.0.0.1:0");
    let error = Listener::bind(first.address(), TIMEOUT).unwrap_err();
    assert!(matches!(error, BindError::InUse { address, .. } if address == first.address()));
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}: the address is already in use", first.address())
    );
}

#[tokio::test]
async fn an_address_of_another_machine_is_named() {
    let error = Listener::bind("192.0.2.1:0".parse().unwrap(), TIMEOUT).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot listen on 192.0.2.1:0: this machine has no such address"
    );
}

#[tokio::test]
async fn a_port_can_be_taken_over_at_once() {
    let first = bind("127.0.0.1:0");
    let address = first.address();
    let _client = tokio::net::TcpStream::connect(address).await.unwrap();
    drop(first);
    Listener::bind(address, TIMEOUT).unwrap();
}
