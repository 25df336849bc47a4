//! What was written is there after a restart.

use airhost_system_tests::Platform;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_keeps_users_and_data() {
    let platform = Platform::start().await;
    let made = platform.client().post("/api/v1/workspaces", &json!({ "name": "Kept" })).await;
    assert_eq!(made.status, 201, "{:?}", made.json());
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    let token = platform.ready.token.clone();

    let platform = Platform::start_in(platform.stop().await).await;
    assert_eq!(platform.ready.token, token, "the first user is not made again");
    let found = platform.client().get(&format!("/api/v1/workspaces/{id}")).await;
    assert_eq!(found.status, 200);
    assert_eq!(found.json()["name"], "Kept");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_do_not_share_a_state_folder() {
    let platform = Platform::start().await;
    let mut config = airhost_node::config::Config::default();
    config.node.state = platform.state().to_owned();
    let error =
        airhost_node::Node::start(config, None, |_, _| {}).await.expect_err("the folder is taken");
    assert!(error.to_string().contains("another node uses the state folder"), "{error}");
    platform.stop().await;
}
