//! Route files made into one immutable table.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use airhost_core::{RouteMatch, ServiceName};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_saphyr::{Location, Spanned};

use super::{
    cors::CorsPolicy,
    error::Error,
    file::{self, Auth, File},
    trie::{self, Found, Segment, Trie},
};

/// A route, ready to be matched.
#[derive(Debug)]
pub struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) service: ServiceName,
    pub(crate) auth: Auth,
    pub(crate) rate: Option<String>,
    pub(crate) cache: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) body: u64,
    pub(crate) compression: bool,
    pub(crate) cors: Option<Arc<CorsPolicy>>,
    pub(crate) request_headers: Option<Arc<HeaderPolicy>>,
    pub(crate) response_headers: Option<Arc<HeaderPolicy>>,
    pub(crate) methods: Vec<Method>,
    paths: Vec<String>,
    hosts: Vec<HostPattern>,
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Route {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The service behind it.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Its path templates.
    #[must_use]
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Its methods; all when empty.
    #[must_use]
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// Whether it needs a user.
    #[must_use]
    pub fn auth(&self) -> Auth {
        self.auth
    }

    fn takes(&self, host: &str, headers: &HeaderMap) -> bool {
        (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host)))
            && self.headers.iter().all(|(name, value)| match value {
                None => headers.contains_key(name),
                Some(value) => headers.get_all(name).iter().any(|sent| sent == value),
            })
    }

    fn takes_method(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || (method == Method::HEAD && self.methods.contains(&Method::GET))
    }

    fn same_conditions(&self, other: &Self) -> bool {
        self.hosts == other.hosts && self.headers == other.headers
    }

    fn shares_a_method(&self, other: &Self) -> bool {
        self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method))
    }
}

/// Changes of header fields.
#[derive(Debug, Default)]
pub(crate) struct HeaderPolicy {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl HeaderPolicy {
    /// Removes, then sets, then adds.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Exact(String),
    /// What follows the `*`, with its dot.
    Suffix(String),
}

impl HostPattern {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Suffix(suffix) => {
                host.len() > suffix.len()
                    && host
                        .get(host.len() - suffix.len()..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
        }
    }
}

/// A route under one of its templates.
#[derive(Debug)]
struct Entry {
    route: Arc<Route>,
    /// Names of the template's captures, `**` for the rest.
    names: Vec<String>,
    rewrite: Option<Vec<Segment>>,
}

/// What a request leads to.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// A route, and what its guest is told about the match.
    Route(Arc<Route>, Arc<RouteMatch>),
    /// The path is known, with these methods.
    Methods(Vec<Method>),
    /// Nothing takes the path.
    None,
}

/// All routes, compiled. It never changes; another one takes its place.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    trie: Trie<Entry>,
}

impl RouteTable {
    /// Reads all `*.yaml` files of a folder, in the order of their names.
    ///
    /// # Errors
    /// When one cannot be read or is not as the format says, with the file and line.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let read = |path: &Path, source| Error::Read { path: path.to_owned(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(|source| read(folder, source))? {
            let path = entry.map_err(|source| read(folder, source))?.path();
            if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            let text = fs::read_to_string(&path).map_err(|source| read(&path, source))?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            files.push((name.unwrap_or_default(), text));
        }
        Self::parse(files.iter().map(|(name, text)| (name.as_str(), text.as_str())))
    }

    /// Reads files given as name and text.
    ///
    /// # Errors
    /// When one is not as the format says, with the file and line.
    pub fn parse<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let mut parsed = Vec::new();
        for (name, text) in files {
            let file: File = if text
                .lines()
                .all(|line| line.trim().is_empty() || line.trim().starts_with('#'))
            {
                File::default()
            } else {
                serde_saphyr::from_str(text).map_err(|error| {
                    let message = error.without_snippet().to_string();
                    invalid(name, error.location().unwrap_or(Location::UNKNOWN), message)
                })?
            };
            parsed.push((name, file));
        }
        let policies = Policies::compile(&parsed)?;
        let mut table = Self::default();
        let mut names = BTreeSet::new();
        for (file, content) in &parsed {
            for route in &content.routes {
                if !names.insert(route.value.name.clone()) {
                    let message = format!("there is another route named `{}`", route.value.name);
                    return Err(invalid(file, route.referenced, message));
                }
                table
                    .add(&route.value, &policies)
                    .map_err(|message| invalid(file, route.referenced, message))?;
            }
        }
        table.trie.sort(&|entry: &Entry| {
            usize::MAX - entry.route.hosts.len().min(1) - entry.route.headers.len()
        });
        Ok(table)
    }

    /// All routes, in the order of the files.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    fn add(&mut self, from: &file::Route, policies: &Policies) -> Result<(), String> {
        let route = Arc::new(compile(from, policies)?);
        for template in &from.path {
            let segments = trie::parse(template).map_err(|error| error.to_string())?;
            let names: Vec<String> = segments.iter().filter_map(capture_name).collect();
            let rewrite = match &from.rewrite {
                None => None,
                Some(rewrite) => Some(compile_rewrite(rewrite, &names)?),
            };
            let entries = self.trie.at(&segments);
            if let Some(other) = entries.iter().find(|other| {
                other.route.same_conditions(&route) && other.route.shares_a_method(&route)
            }) {
                return Err(format!(
                    "`{}` and `{}` take the same requests at `{template}`",
                    other.route.name, route.name
                ));
            }
            entries.push(Entry { route: Arc::clone(&route), names, rewrite });
        }
        self.routes.push(route);
        Ok(())
    }

    /// The largest request body that a route takes, in bytes: what the port in front of the
    /// gateway must let through.
    #[must_use]
    pub fn largest_body(&self) -> u64 {
        self.routes.iter().map(|route| route.body).max().unwrap_or(0)
    }

    /// The route for a request.
    pub(crate) fn find(
        &self,
        method: &Method,
        host: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Lookup {
        let host = without_port(host);
        let mut allowed = Vec::new();
        let found = self.trie.find(path, &mut |Found { values, captures }| {
            for entry in values.iter().filter(|entry| entry.route.takes(host, headers)) {
                if entry.route.takes_method(method) {
                    return Some(Lookup::Route(
                        Arc::clone(&entry.route),
                        Arc::new(entry.matched(path, &captures)),
                    ));
                }
                allowed.extend(entry.route.methods.iter().cloned());
            }
            None
        });
        match found {
            Some(found) => found,
            None if allowed.is_empty() => Lookup::None,
            None => Lookup::Methods(allowed),
        }
    }
}

impl Entry {
    /// What the gateway component learns: the template's parameters, and the route's attributes
    /// under names that begin with `:`.
    fn matched(&self, path: &str, captures: &[&str]) -> RouteMatch {
        let route = &self.route;
        let mut params: Vec<(String, String)> = Vec::with_capacity(captures.len() + 5);
        for (name, part) in self.names.iter().zip(captures) {
            params.push((name.clone(), trie::decode(part)));
        }
        let mut attribute =
            |name: &str, value: &str| params.push((name.to_owned(), value.to_owned()));
        attribute(":service", route.service.as_str());
        attribute(":auth", route.auth.as_str());
        if let Some(rate) = &route.rate {
            attribute(":rate", rate);
        }
        if route.cache {
            attribute(":cache", "true");
        }
        let rewritten = match &self.rewrite {
            None => path.to_owned(),
            Some(rewrite) => self.rewrite(rewrite, captures),
        };
        params.push((":rewrite".to_owned(), rewritten));
        RouteMatch { name: Arc::clone(&route.name), params }
    }

    /// Parts go over as they were sent: decoded and encoded again they might mean something else.
    fn rewrite(&self, rewrite: &[Segment], captures: &[&str]) -> String {
        let mut path = String::new();
        let part = |wanted: &str| {
            let at = self.names.iter().position(|name| name == wanted);
            at.and_then(|at| captures.get(at)).copied().unwrap_or("")
        };
        for segment in rewrite {
            let text = match segment {
                Segment::Text(text) => text.as_str(),
                Segment::Name(name) => part(name),
                Segment::Rest if part(REST).is_empty() && !path.is_empty() => continue,
                Segment::Rest => part(REST),
            };
            path.push('/');
            path.push_str(text);
        }
        path
    }
}

/// The name of what `**` stands for.
const REST: &str = "**";

fn capture_name(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Text(_) => None,
        Segment::Name(name) => Some(name.clone()),
        Segment::Rest => Some(REST.to_owned()),
    }
}

fn compile_rewrite(rewrite: &str, names: &[String]) -> Result<Vec<Segment>, String> {
    let segments = trie::parse(rewrite).map_err(|error| error.to_string())?;
    match segments.iter().filter_map(capture_name).find(|name| !names.contains(name)) {
        Some(name) => Err(format!("the rewrite uses `{name}`, which the path does not have")),
        None => Ok(segments),
    }
}

fn compile(from: &file::Route, policies: &Policies) -> Result<Route, String> {
    if from.name.is_empty() || from.name.len() > 63 {
        return Err("a route's name has 1 to 63 characters".to_owned());
    }
    let mut headers = Vec::new();
    for (name, value) in &from.headers {
        let value = if value == "*" { None } else { Some(header_value(value)?) };
        headers.push((header_name(name)?, value));
    }
    Ok(Route {
        name: from.name.as_str().into(),
        service: from
            .service
            .parse()
            .map_err(|error: airhost_core::NameError| error.to_string())?,
        auth: from.auth,
        rate: from.rate.clone(),
        cache: from.cache,
        timeout: from.timeout,
        body: from.body,
        compression: from.compression,
        cors: pick(&policies.cors, from.cors.as_ref(), "cors")?,
        request_headers: pick(
            &policies.request_headers,
            from.request_headers.as_ref(),
            "request-headers",
        )?,
        response_headers: pick(
            &policies.response_headers,
            from.response_headers.as_ref(),
            "response-headers",
        )?,
        methods: methods(&from.methods)?,
        paths: from.path.clone(),
        hosts: from.hosts.iter().map(|host| host_pattern(host)).collect::<Result<_, _>>()?,
        headers,
    })
}

/// The named policies of all files.
#[derive(Default)]
struct Policies {
    cors: BTreeMap<String, Arc<CorsPolicy>>,
    request_headers: BTreeMap<String, Arc<HeaderPolicy>>,
    response_headers: BTreeMap<String, Arc<HeaderPolicy>>,
}

impl Policies {
    fn compile(files: &[(&str, File)]) -> Result<Self, Error> {
        let mut policies = Self::default();
        for (file, content) in files {
            collect(file, &content.cors, &mut policies.cors, CorsPolicy::compile)?;
            collect(file, &content.request_headers, &mut policies.request_headers, header_policy)?;
            collect(
                file,
                &content.response_headers,
                &mut policies.response_headers,
                header_policy,
            )?;
        }
        Ok(policies)
    }
}

fn collect<F, T>(
    file: &str,
    from: &BTreeMap<String, Spanned<F>>,
    to: &mut BTreeMap<String, Arc<T>>,
    compile: impl Fn(&F) -> Result<T, String>,
) -> Result<(), Error> {
    for (name, policy) in from {
        let compiled =
            compile(&policy.value).map_err(|message| invalid(file, policy.referenced, message))?;
        if to.insert(name.clone(), Arc::new(compiled)).is_some() {
            return Err(invalid(
                file,
                policy.referenced,
                format!("there is another policy named `{name}`"),
            ));
        }
    }
    Ok(())
}

fn pick<T>(
    from: &BTreeMap<String, Arc<T>>,
    name: Option<&String>,
    kind: &str,
) -> Result<Option<Arc<T>>, String> {
    let Some(name) = name else { return Ok(None) };
    from.get(name)
        .cloned()
        .map(Some)
        .ok_or_else(|| format!("there is no policy `{name}` under `{kind}`"))
}

fn header_policy(from: &file::Headers) -> Result<HeaderPolicy, String> {
    let fields = |fields: &BTreeMap<String, String>| {
        fields
            .iter()
            .map(|(name, value)| Ok((header_name(name)?, header_value(value)?)))
            .collect::<Result<_, String>>()
    };
    Ok(HeaderPolicy {
        set: fields(&from.set)?,
        add: fields(&from.add)?,
        remove: from.remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?,
    })
}

pub(crate) fn header_name(name: &str) -> Result<HeaderName, String> {
    name.to_ascii_lowercase().parse().map_err(|_| format!("`{name}` is not a header field's name"))
}

fn header_value(value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value).map_err(|_| format!("`{value}` is not a header field's value"))
}

pub(crate) fn methods(names: &[String]) -> Result<Vec<Method>, String> {
    let mut methods = Vec::new();
    for name in names {
        // Methods are case-sensitive; a lower-case one is a slip that would never match.
        let method =
            Method::from_bytes(name.as_bytes()).ok().filter(|_| *name == name.to_ascii_uppercase());
        methods.push(method.ok_or_else(|| format!("`{name}` is not a method"))?);
    }
    Ok(methods)
}

fn host_pattern(host: &str) -> Result<HostPattern, String> {
    let (name, pattern) = match host.strip_prefix('*') {
        Some(suffix) => {
            (suffix.strip_prefix('.').unwrap_or(""), HostPattern::Suffix(suffix.to_owned()))
        }
        None => (host, HostPattern::Exact(host.to_owned())),
    };
    let valid = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.[]:".contains(&b));
    if valid {
        Ok(pattern)
    } else {
        Err(format!("`{host}` is not a host: write a name, or `*.` and a name"))
    }
}

/// The host of `host[:port]`, with an IPv6 address in its brackets.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':') => {
            host
        }
        _ => authority,
    }
}

fn invalid(file: &str, at: Location, message: impl Into<String>) -> Error {
    Error::Invalid {
        file: file.to_owned(),
        line: at.line(),
        column: at.column(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
