use super::Manifest;

/// What every manifest needs.
pub(crate) const HEAD: &str = "name = 'quote-service'
team = 'examples'
description = 'Answers with a quote.'
port = 8090
contract = '0.1'
";

/// A manifest with these lines beyond what every one needs. Dotted keys keep them short.
pub(crate) fn manifest(lines: &str) -> Manifest {
    Manifest::parse("service.toml", &format!("{HEAD}{lines}")).unwrap()
}
