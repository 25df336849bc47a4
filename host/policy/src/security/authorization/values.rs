//! Values of policies, checked and compiled.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_saphyr::Spanned;

use super::{
    compile::Compiler,
    condition::PathValue,
    identity::{Account, Namespace, RequestPrincipal},
    template::Template,
};
use crate::{mesh::MeshConfig, text::Text};

/// Keys of `when`.
pub(super) const KEYS: &str = "request.headers[name], request.auth.principal, \
    request.auth.audiences, request.auth.presenter, request.auth.claims[name], source.ip, \
    remote.ip, source.namespace, source.serviceAccount, source.principal, source.trustDomain, \
    destination.ip, destination.port, connection.sni";

/// Most values of `serviceAccounts`, as in Istio's CRD.
const MOST_ACCOUNTS: usize = 16;
/// Longest of them.
const LONGEST_ACCOUNT: usize = 320;
/// What a policy calls the mesh's own trust domain, whatever its name is.
const OWN_TRUST_DOMAIN: &str = "cluster.local";

pub(super) fn text(compiler: &mut Compiler<'_>, value: &Spanned<String>, into: &mut Vec<Text>) {
    into.push(plain(compiler, value, ""));
}

/// One value, with a warning if it has a star that is none.
fn plain(compiler: &mut Compiler<'_>, value: &Spanned<String>, instead: &str) -> Text {
    let text = Text::new(&value.value);
    let written = &value.value;
    let literal = text.literal();
    if literal.contains('*') {
        let means = match text {
            Text::Suffix(_) => format!("only what ends with `{literal}`"),
            Text::Prefix(_) => format!("only what begins with `{literal}`"),
            Text::Any | Text::Exact(_) => "only itself".to_owned(),
        };
        compiler.notes.warning(
            value,
            format!("`{written}` matches {means}, star included: `*` is a wildcard at one end of a value{instead}"),
        );
    }
    text
}

pub(super) fn method(compiler: &mut Compiler<'_>, value: &Spanned<String>, into: &mut Vec<Text>) {
    if value.value.bytes().any(|b| b.is_ascii_lowercase()) {
        compiler.notes.warning(
            value,
            format!("`{}`: methods are compared with their case, and are upper case", value.value),
        );
    }
    into.push(plain(compiler, value, ""));
}

pub(super) fn path(
    compiler: &mut Compiler<'_>,
    value: &Spanned<String>,
    into: &mut Vec<PathValue>,
) {
    let written = &value.value;
    if Template::is_one(written) {
        match Template::parse(written) {
            Ok(template) => into.push(PathValue::Template(template)),
            Err(reason) => {
                compiler
                    .notes
                    .error(value, format!("`{written}` is not a path template: {reason}"));
            }
        }
        return;
    }
    if !written.starts_with(['/', '*']) {
        compiler.notes.warning(value, format!("`{written}` matches no path: paths begin with `/`"));
    } else if written.contains(['?', '#']) {
        compiler.notes.warning(
            value,
            format!("`{written}` matches no path: queries and fragments are not part of it"),
        );
    }
    into.push(PathValue::Text(plain(compiler, value, "; `{*}` is one segment of a path")));
}

pub(super) fn port(compiler: &mut Compiler<'_>, value: &Spanned<String>, into: &mut Vec<u16>) {
    match value.value.parse() {
        Ok(port) if value.value.bytes().all(|b| b.is_ascii_digit()) => into.push(port),
        _ => compiler
            .notes
            .error(value, format!("`{}` is not a port between 0 and 65535", value.value)),
    }
}

pub(super) fn block(compiler: &mut Compiler<'_>, value: &Spanned<String>, into: &mut Vec<IpNet>) {
    let written = &value.value;
    let block = if written.contains('/') {
        written.parse().ok()
    } else {
        written.parse::<IpAddr>().ok().map(IpNet::from)
    };
    match block {
        Some(block) => into.push(canonical(block)),
        None => compiler
            .notes
            .error(value, format!("`{written}` is not an IP address, nor a range as `10.0.0.0/8`")),
    }
}

/// A range of IPv4 written as IPv6 (`::ffff:10.0.0.0/104`) is compared as IPv4, as addresses are.
fn canonical(block: IpNet) -> IpNet {
    let IpNet::V6(six) = block else { return block };
    match (six.addr().to_ipv4_mapped(), six.prefix_len().checked_sub(96)) {
        (Some(four), Some(bits)) => IpNet::new(IpAddr::V4(four), bits).unwrap_or(block),
        _ => block,
    }
}

/// A value without the scheme; one that names a trust domain of this mesh stands for all of its
/// names (Istio: pilot/pkg/security/trustdomain/bundle.go).
pub(super) fn principal(
    compiler: &mut Compiler<'_>,
    value: &Spanned<String>,
    into: &mut Vec<Text>,
) {
    if value.value.starts_with("spiffe://") {
        compiler
            .notes
            .error(value, format!("`{}`: principals are written without `spiffe://`", value.value));
        return;
    }
    // What has not the five parts of an id names no trust domain.
    let named = match value.value.split_once('/') {
        Some((domain, rest)) if domain != "*" && rest.split('/').count() == 4 => (domain, rest),
        _ => {
            into.push(plain(compiler, value, ""));
            return;
        }
    };
    let (domain, rest) = named;
    let known = domains(compiler.mesh)
        .any(|own| own == domain || glob_matches(own, domain) || domain == OWN_TRUST_DOMAIN);
    if !known {
        into.push(plain(compiler, value, ""));
        return;
    }
    plain(compiler, value, "");
    for own in domains(compiler.mesh) {
        let keep = domain.strip_prefix('*').is_some_and(|suffix| own.ends_with(suffix));
        let expanded =
            if keep { Text::new(&value.value) } else { Text::new(&format!("{own}/{rest}")) };
        if !into.contains(&expanded) {
            into.push(expanded);
        }
    }
}

fn domains(mesh: &MeshConfig) -> impl Iterator<Item = &str> {
    std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases).map(|td| td.as_str())
}

fn glob_matches(domain: &str, pattern: &str) -> bool {
    match Text::new(pattern) {
        Text::Exact(_) => false,
        glob => glob.matches(domain),
    }
}

pub(super) fn trust_domain(
    compiler: &mut Compiler<'_>,
    value: &Spanned<String>,
    into: &mut Vec<Text>,
) {
    let written = &value.value;
    let text = Text::new(written);
    if written.contains('/') {
        let message = format!("`{written}`: the name of a trust domain has no `/`");
        compiler.notes.error(value, message);
    } else if text.literal().contains('*') {
        let message = format!("`{written}`: a trust domain has at most one `*`, at one end");
        compiler.notes.error(value, message);
    } else if written == OWN_TRUST_DOMAIN || domains(compiler.mesh).any(|own| own == written) {
        into.extend(domains(compiler.mesh).map(|own| Text::Exact(own.into())));
    } else {
        into.push(text);
    }
}

pub(super) fn namespace(
    compiler: &mut Compiler<'_>,
    value: &Spanned<String>,
    into: &mut Vec<Namespace>,
) {
    if value.value.contains('/') {
        let message = format!("`{}`: the name of a namespace has no `/`", value.value);
        compiler.notes.error(value, message);
        return;
    }
    into.push(Namespace::new(&value.value));
}

pub(super) fn account(
    compiler: &mut Compiler<'_>,
    value: &Spanned<String>,
    into: &mut Vec<Account>,
) {
    if into.len() == MOST_ACCOUNTS {
        let message = format!("a list has at most {MOST_ACCOUNTS} service accounts");
        compiler.notes.error(value, message);
    }
    let written = &value.value;
    let (namespace, account) =
        written.split_once('/').unwrap_or((compiler.namespace, written.as_str()));
    let problem = if written.len() > LONGEST_ACCOUNT {
        format!("a service account has at most {LONGEST_ACCOUNT} characters")
    } else if written.contains('*') {
        format!("`{written}`: service accounts have no wildcards")
    } else if namespace.is_empty() || account.is_empty() || account.contains('/') {
        format!("`{written}` is not a service account: `namespace/name`, or `name`")
    } else {
        into.push(Account { namespace: namespace.into(), account: account.into() });
        return;
    };
    compiler.notes.error(value, problem);
}

pub(super) fn request_principal(
    compiler: &mut Compiler<'_>,
    value: &Spanned<String>,
    into: &mut Vec<RequestPrincipal>,
) {
    let written = &value.value;
    if !written.contains(['/', '*']) {
        compiler.notes.warning(
            value,
            format!("`{written}` matches no token: a principal is `<issuer>/<subject>`"),
        );
    } else if Text::new(written).literal().contains('*') && !written.ends_with("/*") {
        compiler.notes.warning(
            value,
            format!("`{written}` has a star that is none: `*` is a wildcard at one end of a value"),
        );
    }
    into.push(RequestPrincipal::new(written));
}

/// `[a][b]` as `a` and `b`.
pub(super) fn bracketed(text: &str) -> Option<Box<[Box<str>]>> {
    let mut names = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.strip_prefix('[')?.split_once(']')?;
        if name.is_empty() || name.contains('[') {
            return None;
        }
        names.push(name.into());
        rest = after;
    }
    (!names.is_empty()).then(|| names.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_brackets_are_taken_apart() {
        for (text, expect) in [
            ("[a]", Some(vec!["a"])),
            ("[a][b]", Some(vec!["a", "b"])),
            ("[https://e.org/a b]", Some(vec!["https://e.org/a b"])),
            ("", None),
            ("[]", None),
            ("[a", None),
            ("[a]b", None),
            ("[a][]", None),
            ("[[a]]", None),
            ("a[b]", None),
        ] {
            let found = bracketed(text);
            let found = found.as_ref().map(|names| names.iter().map(AsRef::as_ref).collect());
            assert_eq!(found, expect, "{text}");
        }
    }

    #[test]
    fn ranges_of_ipv4_may_be_written_as_ipv6() {
        for (written, expect) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1/128", "10.0.0.1/32"),
            ("::/0", "::/0"),
            ("fd00::/8", "fd00::/8"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            let block: IpNet = written.parse().unwrap();
            assert_eq!(canonical(block).to_string(), expect, "{written}");
        }
    }
}
