//! What clients prove themselves with.

/// A credential as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    /// An access token, which the host verifies.
    Jwt(&'a str),
    /// A personal token or an API key, which auth-service exchanges for one.
    LongLived(&'a str),
}

/// There is a credential, and it is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Longer than any token of ours.
const MAX: usize = 8 << 10;

/// The credential of a request; `Authorization` goes before `X-API-Key`.
pub(crate) fn of<'a>(
    authorization: Option<&'a str>,
    api_key: Option<&'a str>,
) -> Result<Option<Credential<'a>>, Malformed> {
    if let Some(value) = authorization {
        let (scheme, token) = value.trim().split_once(' ').ok_or(Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Malformed);
        }
        return classify(token.trim()).map(Some);
    }
    api_key.map(|key| classify(key.trim())).transpose()
}

fn classify(token: &str) -> Result<Credential<'_>, Malformed> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if token.is_empty() || token.len() > MAX || !token.bytes().all(plain) {
        return Err(Malformed);
    }
    if token.starts_with("pat") && token.matches('.').count() == 1 || token.starts_with("pak_") {
        return Ok(Credential::LongLived(token));
    }
    if token.matches('.').count() == 2 { Ok(Credential::Jwt(token)) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_apart() {
        let rows = [
            (None, None, Ok(None)),
            (Some("Bearer a.b.c"), None, Ok(Some(Credential::Jwt("a.b.c")))),
            (Some("bearer patA.b"), None, Ok(Some(Credential::LongLived("patA.b")))),
            (Some("Bearer pata.b.c"), None, Ok(Some(Credential::Jwt("pata.b.c")))),
            (None, Some("pak_x-_"), Ok(Some(Credential::LongLived("pak_x-_")))),
            (Some("Bearer a.b.c"), Some("pak_x"), Ok(Some(Credential::Jwt("a.b.c")))),
            (Some("Basic dTpw"), None, Err(Malformed)),
            (Some("Basic dTpw"), Some("pak_x"), Err(Malformed)),
            (Some("Bearer"), None, Err(Malformed)),
            (Some("Bearer key123"), None, Err(Malformed)),
            (Some("Bearer a.b.c, Bearer d.e.f"), None, Err(Malformed)),
            (None, Some(""), Err(Malformed)),
        ];
        for (authorization, key, expected) in rows {
            assert_eq!(of(authorization, key), expected, "{authorization:?} {key:?}");
        }
        assert_eq!(classify(&"a".repeat(MAX + 1)), Err(Malformed));
    }
}
