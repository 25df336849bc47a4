//! What a lookup depends on, and what it does not.

use airhost_policy::{
    MeshConfig, Snapshot,
    traffic::{RouteQuery, Routed},
};
use http::{HeaderMap, Method};

/// What a call is looked up in does not grow with the resources that are not for it.
#[test]
fn other_hosts_change_nothing() {
    let resource = |name: &str, host: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  hosts: [\"{host}\"]\n  http:\n  - route: [{{destination: {{host: {name}}}}}]\n"
        )
    };
    let mut all = resource("auth-service", "auth-service");
    for nth in 0..300 {
        all.push_str(&resource(&format!("s{nth}"), &format!("*.s{nth}.example.com")));
    }
    let (snapshot, _) =
        Snapshot::compile([("policies.yaml", all)], &MeshConfig::default()).unwrap();
    for (host, expect) in [
        ("auth-service", Some("auth-service")),
        ("x.s7.example.com", Some("s7")),
        ("s7.example.com", None),
        ("user-service", None),
    ] {
        let routed = snapshot.traffic().route(&RouteQuery {
            caller: None,
            host,
            port: 80,
            method: &Method::GET,
            scheme: "http",
            authority: host,
            path: "/",
            query: None,
            headers: &HeaderMap::new(),
            claims: None,
        });
        let name = match &routed {
            Routed::Route(route, _) => route.resource.strip_prefix("pyairtable/"),
            _ => None,
        };
        assert_eq!(name, expect, "{host}");
    }
}

/// Which of two rules comes first is told by the names of their files, not by who read them when.
#[test]
fn the_order_of_files_changes_nothing() {
    let rule = |name: &str, connections: u32| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\nspec: {{host: auth-service, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {connections}}}}}}}}}\n"
        )
    };
    let mut files =
        vec![("a.yaml", rule("z", 1)), ("b.yaml", rule("a", 2)), ("c.yaml", rule("m", 3))];
    for _ in 0..files.len() {
        files.rotate_left(1);
        let (snapshot, warnings) =
            Snapshot::compile(files.clone(), &MeshConfig::default()).unwrap();
        let policy =
            snapshot.traffic().destination("pyairtable", "auth-service", None, 80).unwrap();
        assert_eq!(policy.limits.connections, Some(1));
        let files: Vec<&str> = warnings.iter().map(|warning| &*warning.place.file).collect();
        assert_eq!(files, ["b.yaml", "c.yaml"]);
    }
}
