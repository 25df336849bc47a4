//! Several pools of one service.

mod support;

use airhost_core::Body;
use airhost_runtime::{Instances, Limits, PoolSettings};
use support::{Host, call};

fn strict() -> PoolSettings {
    PoolSettings {
        name: "strict".into(),
        instances: Instances::Warm,
        limits: Limits { body: 4, ..Limits::default() },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_to_the_pool_that_was_chosen_for_it() {
    let host = Host::new();
    host.deploy_with("echo", "echo", |deployment| deployment.pools = vec![strict()]).await;
    let ask = async |pool: Option<&str>| {
        let mut call = call("echo", "POST", "/", Body::from("12345"));
        call.pool = pool.map(Into::into);
        match host.send(call).await {
            Ok(answer) => answer.status,
            Err(error) => error.status().as_u16(),
        }
    };
    assert_eq!(ask(None).await, 200);
    assert_eq!(ask(Some("strict")).await, 413);
    // One that a deploy took away meanwhile.
    assert_eq!(ask(Some("gone")).await, 200);

    let status = host.runtime.status();
    let [default, strict] = &status.services[0].pools[..] else { panic!("{status:?}") };
    assert_eq!((&*default.name, default.calls), ("default", 2));
    assert_eq!((&*strict.name, strict.mode.fresh), ("strict", false));
    assert_eq!(status.services[0].sum(|pool| pool.calls), 2 + strict.calls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_is_drained_when_all_of_its_pools_are() {
    let host = Host::new();
    let old =
        host.deploy_with("echo", "echo", |deployment| deployment.pools = vec![strict()]).await;
    let mut asked = call("echo", "GET", "/", Body::Empty);
    asked.pool = Some("strict".into());
    host.send(asked).await.expect("the pool answers");
    host.deploy("echo", "echo").await;
    tokio::time::timeout(std::time::Duration::from_secs(10), old.drained())
        .await
        .expect("nothing is in it");
    let mut asked = call("echo", "POST", "/", Body::from("12345"));
    asked.pool = Some("strict".into());
    let answer = host.send(asked).await.expect("the new generation has one pool");
    assert_eq!(answer.status, 200);
}
