//! Application roles: a token keeps the roles of the time at which it was issued.

use std::time::Duration;

use mde_exporter::defender::ListQuery;
use mde_simulator::{Endpoint, Fault, Times};
use tokio::time::{advance, pause, resume};

use crate::support::api::Api;

const ALL: [&str; 2] = ["Machine.Read.All", "Software.Read.All"];

async fn wait(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

async fn kind(api: &Api) -> Result<usize, &'static str> {
    api.fetch_kbs().await.map(|kbs| kbs.len()).map_err(|error| error.kind())
}

#[tokio::test]
async fn granted_role_takes_effect_after_a_minute() {
    let api = Api::plain(1).await;
    api.control().set_roles(&["Machine.Read.All"]);
    assert_eq!(kind(&api).await, Err("forbidden"));
    assert_eq!(api.client.machines(ListQuery::All).await.unwrap().len(), 1);
    api.control().set_roles(&ALL);
    // At most one token a minute, whatever the number of calls.
    for _ in 0..5 {
        assert_eq!(kind(&api).await, Err("forbidden"));
    }
    assert_eq!(api.test_tenant.requests(), 1);
    wait(Duration::from_mins(1)).await;
    kind(&api).await.unwrap();
    assert_eq!(api.test_tenant.requests(), 2);
    wait(Duration::from_mins(10)).await;
    kind(&api).await.unwrap();
    assert_eq!(api.test_tenant.requests(), 2, "a token with the role stays");
}

#[tokio::test]
async fn refusal_that_names_a_role_replaces_the_token() {
    let api = Api::plain(1).await;
    api.fetch_kbs().await.unwrap();
    wait(Duration::from_mins(5)).await;
    for (fault, requests) in [(Fault::Status(403), 1), (Fault::Forbidden("Software.Read.All".to_owned()), 2)]
    {
        api.control().inject(Endpoint::MissingKbs, fault, Times::Next(1));
        assert_eq!(kind(&api).await, Err("forbidden"));
        kind(&api).await.unwrap();
        assert_eq!(api.test_tenant.requests(), requests);
    }
}

#[tokio::test]
async fn reload_takes_a_new_token_at_once() {
    let api = Api::plain(1).await;
    api.control().set_roles(&["Machine.Read.All"]);
    assert_eq!(kind(&api).await, Err("forbidden"));
    api.control().set_roles(&ALL);
    api.client.renew_token();
    kind(&api).await.unwrap();
    kind(&api).await.unwrap();
    assert_eq!(api.test_tenant.requests(), 2);
}

#[tokio::test]
async fn valid_token_serves_while_the_authority_has_a_problem() {
    let api = Api::plain(1).await;
    api.fetch_kbs().await.unwrap();
    api.control().inject(Endpoint::Token, Fault::HtmlError(503), Times::Always);
    api.client.renew_token();
    for _ in 0..5 {
        kind(&api).await.unwrap();
    }
    // Five minutes before its end, the token is renewed.
    api.clock.advance(Duration::from_mins(56));
    wait(Duration::from_mins(1)).await;
    kind(&api).await.unwrap();
    assert_eq!(api.test_tenant.requests(), 3);
    api.clock.advance(Duration::from_mins(5));
    assert_eq!(kind(&api).await, Err("token"), "the token has expired");
}
