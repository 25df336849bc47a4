use super::*;

fn pool() -> Passwords {
    Passwords::start(2, 64).unwrap()
}

#[tokio::test]
async fn a_password_fits_its_hash_and_no_other() {
    let pool = pool();
    let hash = pool.hash("correct horse").await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert_ne!(pool.hash("correct horse").await.unwrap(), hash, "the salt is new");
    let verdict = pool.verify("correct horse", &hash).await.unwrap();
    assert_eq!(verdict, Verdict { matches: true, outdated: false });
    assert!(!pool.verify("correct horsf", &hash).await.unwrap().matches);
    pool.verify_nothing("correct horse").await.unwrap();
}

#[tokio::test]
async fn hashes_of_other_systems_are_read() {
    let pool = pool();
    for (password, hash, outdated) in [
        // The reference implementation's own test vectors (phc-winner-argon2, src/test.c).
        (
            "password",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            true,
        ),
        (
            "password",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            true,
        ),
        // crypt_blowfish's own test vectors (wrapper.c).
        ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", true),
        ("U*U*", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", true),
    ] {
        let verdict = pool.verify(password, hash).await.unwrap();
        assert_eq!(verdict, Verdict { matches: true, outdated }, "{hash}");
        assert!(!pool.verify("Password", hash).await.unwrap().matches);
    }
    let made = bcrypt::hash("hunter2", 4).unwrap();
    for prefix in ["$2a$", "$2b$", "$2y$"] {
        let hash = made.replacen("$2b$", prefix, 1);
        let verdict = pool.verify("hunter2", &hash).await.unwrap();
        assert_eq!(verdict, Verdict { matches: true, outdated: true });
    }
    let long = "x".repeat(100);
    let truncating = bcrypt::hash(&long, 4).unwrap();
    assert!(pool.verify(&long, &truncating).await.unwrap().matches);
}

#[tokio::test]
async fn what_is_no_hash_or_too_dear_is_refused_at_once() {
    let pool = pool();
    let salt_and_hash = "c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    for bad in [
        String::new(),
        "plain".to_owned(),
        "$1$salt$hash".to_owned(),
        "$2b$".to_owned(),
        "$2b$04$ä".to_owned(),
        format!("$2b$15${}", "a".repeat(53)),
        format!("$2b$99${}", "a".repeat(53)),
        format!("$2b$+4${}", "a".repeat(53)),
        format!("$argon2i$v=19$m=256,t=2,p=1${salt_and_hash}"),
        format!("$argon2d$v=19$m=256,t=2,p=1${salt_and_hash}"),
        format!("$argon2id$v=20$m=256,t=2,p=1${salt_and_hash}"),
        format!("$argon2id$v=19$m=4000000,t=2,p=1${salt_and_hash}"),
        format!("$argon2id$v=19$m=256,t=4000000,p=1${salt_and_hash}"),
        format!("$argon2id$v=19$m=65536,t=1,p=64${salt_and_hash}"),
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ".to_owned(),
    ] {
        let error = pool.verify("password", &bad).await.unwrap_err();
        assert!(codes::PASSWORD_FORMAT.is(&error), "{bad}: {error}");
    }
}

#[tokio::test]
async fn length_is_checked_first() {
    let pool = pool();
    for bad in ["", &"x".repeat(MAX_LENGTH + 1)] {
        assert!(codes::PASSWORD_LENGTH.is(&pool.hash(bad).await.unwrap_err()));
        assert!(codes::PASSWORD_LENGTH.is(&pool.verify(bad, "x").await.unwrap_err()));
        assert!(codes::PASSWORD_LENGTH.is(&pool.verify_nothing(bad).await.unwrap_err()));
    }
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back_and_recovers() {
    let pool = Arc::new(Passwords::start(1, 2).unwrap());
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move { pool.verify_nothing("x").await })
        })
        .collect();
    let mut busy = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert!(codes::PASSWORD_BUSY.is(&error), "{error}");
            assert!(error.retry_after.is_some_and(|after| after >= TYPICAL));
            busy += 1;
        }
    }
    // Two that wait are taken at least; the thread may have taken some more.
    assert!((1..=18).contains(&busy), "{busy}");
    pool.verify_nothing("x").await.unwrap();
    assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
}
