use super::*;

const FILE: &str = r#"
cors:
  web:
    origins: ["https://app.example.com"]
request-headers:
  clean:
    remove: [cookie]
routes:
  - name: users
    path: /api/v1/users/{id}
    service: user-service
    methods: [GET, PATCH]
    rewrite: /users/{id}
    timeout: 5s
    body: 64KiB
    rate: standard
    cors: web
  - name: users-beta
    path: /api/v1/users/{id}
    service: user-beta
    methods: [GET]
    headers: { x-beta: "1" }
  - name: airtable
    path: ["/v0/**"]
    service: airtable-connector
    auth: optional
    cache: true
  - name: tenant-host
    path: /api/v1/users/{id}
    hosts: ["*.tenants.example.com"]
    service: tenant-users
  - name: moved
    path: /old/{a}/**
    rewrite: /new/**
    service: new-service
    auth: none
"#;

fn table() -> RouteTable {
    RouteTable::parse([("routes.yaml", FILE)]).unwrap()
}

fn find(
    table: &RouteTable,
    method: &str,
    host: &str,
    path: &str,
    fields: &[(&'static str, &'static str)],
) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    match table.find(&method.parse().unwrap(), host, path, &headers) {
        Lookup::Route(_, matched) => {
            let params: Vec<_> =
                matched.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {}", matched.name, params.join(" "))
        }
        Lookup::Methods(methods) => format!("only {methods:?}"),
        Lookup::None => "none".to_owned(),
    }
}

#[test]
fn requests_find_their_routes() {
    let table = table();
    let cases = [
        (
            "GET",
            "h",
            "/api/v1/users/7",
            "users id=7 :service=user-service :auth=required :rate=standard :rewrite=/users/7",
        ),
        (
            "HEAD",
            "h",
            "/api/v1/users/7",
            "users id=7 :service=user-service :auth=required :rate=standard :rewrite=/users/7",
        ),
        (
            "GET",
            "h",
            "/api/v1/users/a%20b%2Fc",
            "users id=a b/c :service=user-service :auth=required :rate=standard :rewrite=/users/a%20b%2Fc",
        ),
        ("DELETE", "h", "/api/v1/users/7", "only [GET, PATCH]"),
        ("GET", "h", "/api/v1/users", "none"),
        (
            "GET",
            "a.tenants.example.com:8000",
            "/api/v1/users/7",
            "tenant-host id=7 :service=tenant-users :auth=required :rewrite=/api/v1/users/7",
        ),
        (
            "DELETE",
            "A.Tenants.example.com",
            "/api/v1/users/7",
            "tenant-host id=7 :service=tenant-users :auth=required :rewrite=/api/v1/users/7",
        ),
        (
            "PUT",
            "h",
            "/v0/app1/T%2F1",
            "airtable **=app1/T/1 :service=airtable-connector :auth=optional :cache=true :rewrite=/v0/app1/T%2F1",
        ),
        (
            "GET",
            "h",
            "/v0",
            "airtable **= :service=airtable-connector :auth=optional :cache=true :rewrite=/v0",
        ),
        (
            "GET",
            "h",
            "/old/x/a/b",
            "moved a=x **=a/b :service=new-service :auth=none :rewrite=/new/a/b",
        ),
        ("GET", "h", "/old/x", "moved a=x **= :service=new-service :auth=none :rewrite=/new"),
    ];
    for (method, host, path, expected) in cases {
        assert_eq!(find(&table, method, host, path, &[]), expected, "{method} {host} {path}");
    }
}

#[test]
fn more_conditions_go_first() {
    let table = table();
    assert!(
        find(&table, "GET", "h", "/api/v1/users/7", &[("x-beta", "1")]).starts_with("users-beta ")
    );
    assert!(find(&table, "GET", "h", "/api/v1/users/7", &[("x-beta", "2")]).starts_with("users "));
    assert!(
        find(&table, "PATCH", "h", "/api/v1/users/7", &[("x-beta", "1")]).starts_with("users ")
    );
}

#[test]
fn attributes_are_read() {
    let table = table();
    let users = &table.routes()[0];
    assert_eq!(users.timeout, Some(Duration::from_secs(5)));
    assert_eq!(users.body, 64 << 10);
    assert_eq!(table.largest_body(), 10 << 20);
    assert!(users.cors.is_some() && users.compression && !users.cache);
    assert_eq!(table.routes()[2].auth, Auth::Optional);
}

#[test]
fn faults_are_named_with_file_and_line() {
    let route = |more: &str| format!("routes:\n  - name: a\n    path: /a\n    service: s\n{more}");
    let cases = [
        (route("    tmeout: 3s\n"), "x.yaml:5:5: ", "unknown field `tmeout`"),
        (route("    timeout: 3\n"), "x.yaml:", "not a duration"),
        (route("    timeout: 0s\n"), "x.yaml:", "not a duration"),
        (route("    body: 10mb\n"), "x.yaml:", "not a size"),
        (route("    methods: [get]\n"), "x.yaml:2:5: ", "`get` is not a method"),
        (route("    cors: web\n"), "x.yaml:2:5: ", "no policy `web` under `cors`"),
        (route("    auth: maybe\n"), "x.yaml:", "maybe"),
        (route("    rewrite: /b/{id}\n"), "x.yaml:2:5: ", "`id`, which the path does not have"),
        (route("    hosts: ['*']\n"), "x.yaml:2:5: ", "not a host"),
        (route("    headers: { 'a b': '1' }\n"), "x.yaml:2:5: ", "not a header field's name"),
        (
            route("  - name: a\n    path: /b\n    service: s\n"),
            "x.yaml:5:5: ",
            "another route named `a`",
        ),
        (
            route("  - name: b\n    path: /a\n    service: s\n"),
            "x.yaml:5:5: ",
            "take the same requests",
        ),
        (
            "routes:\n  - name: a\n    path: a\n    service: s\n".to_owned(),
            "x.yaml:2:5: ",
            "must begin with `/`",
        ),
        (
            "routes:\n  - name: a\n    path: /a\n    service: S_1\n".to_owned(),
            "x.yaml:2:5: ",
            "not a service name",
        ),
        (
            "routes:\n  - name: a\n    path: []\n    service: s\n".to_owned(),
            "x.yaml:",
            "at least one path",
        ),
        (
            "cors:\n  w:\n    origins: ['*']\n    credentials: true\n".to_owned(),
            "x.yaml:3:5: ",
            "name the origins",
        ),
        ("rotues: []\n".to_owned(), "x.yaml:1:1: ", "unknown field `rotues`"),
        ("routes: [\n".to_owned(), "x.yaml:", ""),
    ];
    for (text, place, message) in cases {
        let error = RouteTable::parse([("x.yaml", text.as_str())]).unwrap_err().to_string();
        assert!(error.starts_with(place) && error.contains(message), "{text}\n{error}");
    }
}

#[test]
fn files_share_policies_and_may_be_empty() {
    let cors = "cors:\n  web:\n    origins: ['*']\n";
    let routes = "routes:\n  - name: a\n    path: /a\n    service: s\n    cors: web\n";
    let table =
        RouteTable::parse([("1.yaml", routes), ("2.yaml", cors), ("3.yaml", "# nothing\n")])
            .unwrap();
    assert!(table.routes()[0].cors.is_some());
}

#[test]
fn the_routes_of_this_repository_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/gateway");
    let table = RouteTable::load(&folder).unwrap();
    for (path, service) in [
        ("/api/v1/auth/login", "auth-service"),
        ("/api/v1/users/me", "user-service"),
        ("/api/v1/permissions/check", "permission-service"),
        ("/api/v1/limits/check", "rate-limiter-service"),
        ("/api/v1/bases", "airtable-connector"),
        ("/v0/app1/Table%201", "airtable-connector"),
        ("/.well-known/jwks.json", "auth-service"),
        ("/docs", "api-gateway"),
    ] {
        assert!(
            find(&table, "GET", "h", path, &[]).contains(&format!(":service={service} ")),
            "{path}"
        );
    }
}
