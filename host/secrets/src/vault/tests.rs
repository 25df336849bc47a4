use std::{fs, os::unix::fs::PermissionsExt};

use ring::signature::UnparsedPublicKey;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

struct Fixture {
    folder: TempDir,
    vault: Vault,
    auth: ServiceName,
    mail: ServiceName,
    one: Tenant,
    two: Tenant,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            vault: Vault::open(folder.path()).unwrap(),
            folder,
            auth: "auth-service".parse().unwrap(),
            mail: "mail-service".parse().unwrap(),
            one: Tenant::new("one"),
            two: Tenant::new("two"),
        }
    }

    fn owner(&self) -> Owner<'_> {
        Owner { service: &self.auth, tenant: Some(&self.one) }
    }

    fn reopen(&mut self) {
        self.vault = Vault::open(self.folder.path()).unwrap();
    }

    fn sql(&self, statement: &str) -> usize {
        let connection = Connection::open(self.folder.path().join("vault.db")).unwrap();
        connection.execute(statement, []).unwrap()
    }

    /// Everything in the folder, also the journals.
    fn bytes(&self) -> Vec<u8> {
        let files = fs::read_dir(self.folder.path()).unwrap();
        files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn secrets_survive_a_restart_and_are_not_on_disk_in_the_clear() {
    let mut fixture = Fixture::new();
    let secret = b"a very secret token, 32 bytes ok";
    fixture.vault.put(fixture.owner(), "token", secret).await.unwrap();
    let mac =
        fixture.vault.mac(fixture.owner(), "token", Algorithm::HmacSha256, b"m").await.unwrap();
    assert!(!contains(&fixture.bytes(), secret));
    let mode = |name: &str| {
        fs::metadata(fixture.folder.path().join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("vault.db"), mode("master.key")), (0o600, 0o600));
    assert_eq!(mode("vault.db-wal"), 0o600);
    fixture.reopen();
    let again =
        fixture.vault.mac(fixture.owner(), "token", Algorithm::HmacSha256, b"m").await.unwrap();
    assert_eq!(mac, again);
    let material = fixture.vault.load(fixture.owner(), "token").await.unwrap();
    assert!(!format!("{material:?}{:?}", fixture.vault).contains("secret token"));
}

#[tokio::test]
async fn a_secret_is_its_services_and_its_tenants_alone() {
    let fixture = Fixture::new();
    let vault = &fixture.vault;
    vault.put(fixture.owner(), "key", b"1").await.unwrap();
    vault.put(fixture.owner(), "shared/key", b"2").await.unwrap();
    let others = [
        Owner { service: &fixture.mail, tenant: Some(&fixture.one) },
        Owner { service: &fixture.auth, tenant: Some(&fixture.two) },
    ];
    for other in others {
        assert!(!vault.exists(other, "key").await.unwrap());
        let error = vault.mac(other, "key", Algorithm::HmacSha256, b"").await.unwrap_err();
        assert!(codes::SECRETS_NOT_FOUND.is(&error));
        assert!(!vault.delete(other, "key").await.unwrap());
    }
    let nobody = Owner { service: &fixture.auth, tenant: None };
    let error = vault.exists(nobody, "key").await.unwrap_err();
    assert!(codes::TENANT_MISSING.is(&error));
    for service in [nobody, others[1]] {
        assert!(vault.exists(service, "shared/key").await.unwrap());
        assert_eq!(vault.names(service, "").await.unwrap(), ["shared/key"]);
    }
    assert!(!vault.exists(others[0], "shared/key").await.unwrap());
    assert_eq!(vault.names(fixture.owner(), "").await.unwrap(), ["key", "shared/key"]);
    assert_eq!(vault.names(fixture.owner(), "k").await.unwrap(), ["key"]);
    assert_eq!(vault.names(fixture.owner(), "%").await.unwrap(), [""; 0]);

    assert_eq!(vault.delete_tenant(&fixture.auth, &fixture.one).await.unwrap(), 1);
    assert!(!vault.exists(fixture.owner(), "key").await.unwrap());
    assert!(vault.delete(fixture.owner(), "shared/key").await.unwrap());
    assert!(!vault.delete(fixture.owner(), "shared/key").await.unwrap());
}

#[tokio::test]
async fn a_change_is_seen_at_once() {
    let fixture = Fixture::new();
    let mac =
        async || fixture.vault.mac(fixture.owner(), "k", Algorithm::HmacSha512, b"m").await.ok();
    assert_eq!(mac().await, None);
    fixture.vault.put(fixture.owner(), "k", b"1").await.unwrap();
    let first = mac().await;
    fixture.vault.put(fixture.owner(), "k", b"2").await.unwrap();
    let second = mac().await;
    assert!(first.is_some() && second.is_some() && first != second);
    fixture.vault.delete(fixture.owner(), "k").await.unwrap();
    assert_eq!(mac().await, None);
}

#[tokio::test]
async fn names_and_values_have_limits() {
    let fixture = Fixture::new();
    for bad in ["", "a\nb", "a\0", &"x".repeat(257)] {
        let error = fixture.vault.put(fixture.owner(), bad, b"x").await.unwrap_err();
        assert!(codes::SECRETS_NAME.is(&error), "{bad:?}");
    }
    for bad in [Vec::new(), vec![0; MAX_VALUE + 1]] {
        let error = fixture.vault.put(fixture.owner(), "x", &bad).await.unwrap_err();
        assert!(codes::SECRETS_VALUE.is(&error));
    }
    let longest = vec![1; MAX_VALUE];
    fixture.vault.put(fixture.owner(), &"x".repeat(256), &longest).await.unwrap();
}

#[tokio::test]
async fn generated_keys_sign_what_their_public_half_verifies() {
    let fixture = Fixture::new();
    let (vault, owner) = (&fixture.vault, fixture.owner());
    for (algorithm, kty) in [(Algorithm::Ed25519, "OKP"), (Algorithm::Es256, "EC")] {
        let public = vault.generate(owner, "k", algorithm).await.unwrap();
        assert_eq!(vault.public_key(owner, "k").await.unwrap(), public);
        let jwk: serde_json::Value = serde_json::from_str(&public).unwrap();
        assert_eq!(jwk["kty"], kty);
        assert!(jwk.get("d").is_none());
        let signature = vault.sign(owner, "k", algorithm, b"message").await.unwrap();
        assert_eq!(signature.len(), 64);
        assert!(vault.verify(owner, "k", algorithm, b"message", &signature).await.unwrap());
        assert!(!vault.verify(owner, "k", algorithm, b"massage", &signature).await.unwrap());
        let mut tampered = signature.clone();
        tampered[10] ^= 1;
        assert!(!vault.verify(owner, "k", algorithm, b"message", &tampered).await.unwrap());
        if algorithm == Algorithm::Ed25519 {
            use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
            let x = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
            let key = UnparsedPublicKey::new(&ring::signature::ED25519, x);
            key.verify(b"message", &signature).unwrap();
        }
    }
    for (algorithm, length) in [(Algorithm::HmacSha256, 32), (Algorithm::HmacSha512, 64)] {
        assert_eq!(vault.generate(owner, "m", algorithm).await.unwrap(), "");
        let mac = vault.mac(owner, "m", algorithm, b"message").await.unwrap();
        assert_eq!(mac.len(), length);
        assert!(vault.verify(owner, "m", algorithm, b"message", &mac).await.unwrap());
        assert!(!vault.verify(owner, "m", algorithm, b"message", &mac[1..]).await.unwrap());
    }
}

#[tokio::test]
async fn a_secret_is_used_for_its_own_algorithm_alone() {
    let fixture = Fixture::new();
    let (vault, owner) = (&fixture.vault, fixture.owner());
    let all = [
        Algorithm::Ed25519,
        Algorithm::Es256,
        Algorithm::Rs256,
        Algorithm::HmacSha256,
        Algorithm::HmacSha512,
    ];
    let error = vault.generate(owner, "rsa", Algorithm::Rs256).await.unwrap_err();
    assert!(codes::SECRETS_ALGORITHM.is(&error));
    for made in [Algorithm::Ed25519, Algorithm::Es256, Algorithm::HmacSha256] {
        vault.generate(owner, "k", made).await.unwrap();
        for used in all {
            let signed = vault.sign(owner, "k", used, b"m").await;
            let maced = vault.mac(owner, "k", used, b"m").await;
            let is_mac = matches!(made, Algorithm::HmacSha256);
            assert_eq!(signed.is_ok(), used == made && !is_mac, "{made:?} {used:?}");
            assert_eq!(maced.is_ok(), used == made && is_mac, "{made:?} {used:?}");
            for error in signed.err().into_iter().chain(maced.err()) {
                assert!(codes::SECRETS_ALGORITHM.is(&error));
            }
        }
        assert!(vault.totp_verify(owner, "k", "123456").await.is_err());
    }
}

#[tokio::test]
async fn private_keys_that_were_put_sign() {
    let fixture = Fixture::new();
    let (vault, owner) = (&fixture.vault, fixture.owner());
    // RFC 8410, section 10.3.
    let pem = b"-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    vault.put(owner, "k", pem).await.unwrap();
    let jwk = vault.public_key(owner, "k").await.unwrap();
    assert!(jwk.contains("\"Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE\""), "{jwk}");
    let signature = vault.sign(owner, "k", Algorithm::Ed25519, b"m").await.unwrap();
    assert!(vault.verify(owner, "k", Algorithm::Ed25519, b"m", &signature).await.unwrap());
    for other in [Algorithm::Es256, Algorithm::Rs256] {
        assert!(vault.sign(owner, "k", other, b"m").await.is_err());
    }
    vault.put(owner, "k", include_bytes!("test-rsa.pem")).await.unwrap();
    assert!(vault.public_key(owner, "k").await.unwrap().contains("\"e\":\"AQAB\""));
    let signature = vault.sign(owner, "k", Algorithm::Rs256, b"m").await.unwrap();
    assert!(vault.verify(owner, "k", Algorithm::Rs256, b"m", &signature).await.unwrap());
    assert!(!vault.verify(owner, "k", Algorithm::Rs256, b"n", &signature).await.unwrap());
    assert!(vault.sign(owner, "k", Algorithm::Es256, b"m").await.is_err());
    for bad in [&b"no key"[..], b"-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----"] {
        vault.put(owner, "k", bad).await.unwrap();
        assert!(vault.public_key(owner, "k").await.is_err());
    }
}

#[tokio::test]
async fn what_is_sealed_opens_with_the_same_secret_and_aad() {
    let fixture = Fixture::new();
    let (vault, owner) = (&fixture.vault, fixture.owner());
    vault.generate(owner, "k", Algorithm::HmacSha256).await.unwrap();
    vault.put(owner, "other", &[7; 16]).await.unwrap();
    let sealed = vault.seal(owner, "k", b"text", b"aad").await.unwrap();
    assert_ne!(sealed, vault.seal(owner, "k", b"text", b"aad").await.unwrap());
    assert_eq!(vault.open_sealed(owner, "k", &sealed, b"aad").await.unwrap(), b"text");
    for at in 0..sealed.len() {
        let mut tampered = sealed.clone();
        tampered[at] ^= 1;
        let error = vault.open_sealed(owner, "k", &tampered, b"aad").await.unwrap_err();
        assert!(codes::SECRETS_SEALED.is(&error), "{at}");
    }
    for (name, data, aad) in [
        ("k", &sealed[..], &b"aae"[..]),
        ("k", &sealed[..10], b"aad"),
        ("k", &[], b"aad"),
        ("other", &sealed[..], b"aad"),
    ] {
        let error = vault.open_sealed(owner, name, data, aad).await.unwrap_err();
        assert!(codes::SECRETS_SEALED.is(&error));
    }
    vault.put(owner, "short", &[7; 15]).await.unwrap();
    assert!(vault.seal(owner, "short", b"", b"").await.is_err());
    vault.generate(owner, "signer", Algorithm::Ed25519).await.unwrap();
    assert!(vault.seal(owner, "signer", b"", b"").await.is_err());
}

#[tokio::test]
async fn records_that_were_moved_or_changed_are_refused() {
    for change in [
        "UPDATE secrets SET name = 'b' WHERE name = 'a'",
        "UPDATE secrets SET scope = 'tenant:two', name = 'b' WHERE name = 'a'",
        "UPDATE secrets SET service = 'mail-service', name = 'b' WHERE name = 'a'",
        "UPDATE secrets SET kind = 3, name = 'b' WHERE name = 'a'",
        "UPDATE secrets SET kind = 3 WHERE name = 'a'",
        "UPDATE secrets SET sealed = zeroblob(40) WHERE name = 'a'",
        "UPDATE secrets SET wrapped_key = x'00' WHERE name = 'a'",
        "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'c') WHERE name = 'a'",
    ] {
        let mut fixture = Fixture::new();
        fixture.vault.put(fixture.owner(), "a", b"1").await.unwrap();
        fixture.vault.put(fixture.owner(), "c", b"2").await.unwrap();
        assert_eq!(fixture.sql(change), 1);
        fixture.reopen();
        let owners = [
            fixture.owner(),
            Owner { service: &fixture.auth, tenant: Some(&fixture.two) },
            Owner { service: &fixture.mail, tenant: Some(&fixture.one) },
        ];
        let mut refused = 0;
        for owner in owners {
            for name in ["a", "b"] {
                match fixture.vault.mac(owner, name, Algorithm::HmacSha256, b"").await {
                    Ok(_) => panic!("{change}"),
                    Err(error) if codes::SECRETS_UNAVAILABLE.is(&error) => refused += 1,
                    Err(error) => assert!(codes::SECRETS_NOT_FOUND.is(&error), "{error}"),
                }
            }
        }
        assert_eq!(refused, 1, "{change}");
    }
}

#[tokio::test]
async fn a_vault_opens_with_its_own_master_key_alone() {
    let fixture = Fixture::new();
    fixture.vault.put(fixture.owner(), "a", b"1").await.unwrap();
    let file = fixture.folder.path().join("vault.db");
    let other = MasterKey::from_bytes(&[7; 32]);
    assert!(matches!(Vault::open_with(&file, &other), Err(OpenError::OtherMasterKey)));
    let key = fixture.folder.path().join("master.key");
    let master = MasterKey::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let error = Vault::open(fixture.folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::MasterKeyMissing(_)), "{error}");
    assert!(!key.exists());
    Vault::open_with(&file, &master).unwrap();
    fixture.sql("PRAGMA user_version = 9");
    assert!(matches!(Vault::open_with(&file, &master), Err(OpenError::Format(9))));
}

#[tokio::test]
async fn one_time_passwords_are_checked_with_the_seed_that_was_put() {
    let fixture = Fixture::new();
    fixture.vault.put(fixture.owner(), "totp/u", b"12345678901234567890").await.unwrap();
    let check = async |code| fixture.vault.totp_verify(fixture.owner(), "totp/u", code).await;
    assert_eq!(check("12345").await.unwrap(), None);
    // Every code is right within three steps at most, so that one of these is wrong.
    let (a, b) = (check("000000").await.unwrap(), check("000001").await.unwrap());
    assert!(a.is_none() || b.is_none() || a != b);
}
