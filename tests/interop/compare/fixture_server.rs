//! The fixture server, over HTTP and stdio, in both eras: directly and through the gateway.

use super::{
    cases::assert_covered,
    fixture,
    record::{Record, differences, record},
};
use crate::{
    gateway::{Gateway, Route},
    one_at_a_time,
    servers::Server,
    tools::example,
    wire::{Address, Answers, Era, Wire},
};

async fn record_of(address: &Address, era: Era) -> Record {
    let answers = Answers { root: "/work".to_owned() };
    let (mut wire, _) = Wire::connect(address, era, answers.clone()).await;
    let record = record(&mut wire, &fixture::subject(era), &answers).await;
    let left = wire.leftovers().await;
    assert!(left.is_empty(), "nobody asked for {left:?}");
    wire.close().await;
    record
}

fn stdio() -> Address {
    Address::Stdio(vec![example("fixture-server").to_str().unwrap().to_owned(), "--stdio".to_owned()])
}

#[tokio::test]
async fn fixture_answers_alike() {
    let _turn = one_at_a_time().await;
    let server = Server::fixture();
    let mut found = Vec::new();
    for (how, address) in [("Streamable HTTP", Address::Http(server.url.clone())), ("stdio", stdio())] {
        let gateway = Gateway::start(&[Route { path: "/mcp", servers: vec![("", &address)] }]);
        let proxy = Address::Http(gateway.url("/mcp"));
        for era in [Era::Legacy, Era::Modern] {
            let direct = record_of(&address, era).await;
            let proxied = record_of(&proxy, era).await;
            found.extend(differences(&format!("{} over {how}", fixture::subject(era).name), &direct, &proxied));
        }
        if !found.is_empty() {
            found.push(format!("gateway:\n{}", gateway.log()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

/// A check of the comparison itself: a difference between two direct runs would not be the gateway's.
#[tokio::test]
async fn two_direct_runs_of_the_fixture_are_equal() {
    let _turn = one_at_a_time().await;
    let server = Server::fixture();
    for era in [Era::Legacy, Era::Modern] {
        let subject = fixture::subject(era);
        for address in [Address::Http(server.url.clone()), stdio()] {
            let first = record_of(&address, era).await;
            let second = record_of(&address, era).await;
            assert_covered(&subject, &first);
            let found = differences(subject.name, &first, &second);
            assert!(found.is_empty(), "{}", found.join("\n\n"));
        }
    }
}
