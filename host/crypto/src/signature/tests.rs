use super::*;

/// RFC 8037, appendix A.2 and A.4.
const ED: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const ED_MESSAGE: &[u8] = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
const ED_SIGNATURE: &str =
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

/// RFC 7515, appendix A.3.
const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const EC_MESSAGE: &[u8] = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const EC_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// RFC 7515, appendix A.2.
const RSA: &str = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;
const RSA_MESSAGE: &[u8] = b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RSA_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

const VECTORS: [(Algorithm, &str, &[u8], &str); 3] = [
    (Algorithm::Ed25519, ED, ED_MESSAGE, ED_SIGNATURE),
    (Algorithm::Es256, EC, EC_MESSAGE, EC_SIGNATURE),
    (Algorithm::Rs256, RSA, RSA_MESSAGE, RSA_SIGNATURE),
];

#[test]
fn signatures_of_the_rfcs_are_right_and_tampered_ones_are_not() {
    for (algorithm, jwk, message, signature) in VECTORS {
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = PublicKey::from_jwk(algorithm, jwk).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        assert!(key.verify(message, &signature), "{algorithm:?}");
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut tampered = signature.clone();
            tampered[at] ^= 1;
            assert!(!key.verify(message, &tampered), "{algorithm:?} {at}");
        }
        let mut other = message.to_vec();
        other[3] ^= 1;
        assert!(!key.verify(&other, &signature));
        assert!(!key.verify(message, &signature[1..]));
        assert!(!key.verify(message, &[]));
    }
}

#[test]
fn a_key_is_for_its_algorithm_alone() {
    for (algorithm, jwk, ..) in VECTORS {
        for (other, ..) in VECTORS {
            assert_eq!(PublicKey::from_jwk(other, jwk).is_ok(), other == algorithm);
        }
    }
    let with = |members: &str| ED.replacen('{', &format!("{{{members},"), 1);
    for (members, good) in [
        (r#""alg":"EdDSA""#, true),
        (r#""use":"sig","key_ops":["verify"],"kid":"1""#, true),
        (r#""alg":"ES256""#, false),
        (r#""alg":"none""#, false),
        (r#""use":"enc""#, false),
        (r#""key_ops":["sign"]"#, false),
        (r#""d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A""#, false),
    ] {
        let key = PublicKey::from_jwk(Algorithm::Ed25519, &with(members));
        assert_eq!(key.is_ok(), good, "{members}");
    }
}

#[test]
fn what_is_no_key_is_refused() {
    for bad in [
        "",
        "{}",
        "[]",
        r#"{"kty":"OKP","crv":"Ed25519"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","x":"+++"}"#,
        r#"{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    ] {
        let error = PublicKey::from_jwk(Algorithm::Ed25519, bad).unwrap_err();
        assert!(codes::SIGNATURE_KEY.is(&error), "{bad}");
    }
    let short = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAk","e":"AQAB"}"#;
    assert!(PublicKey::from_jwk(Algorithm::Rs256, short).is_err());
    let long = format!("{{\"kty\":\"{}\"}}", "a".repeat(MAX_JWK));
    assert!(PublicKey::from_jwk(Algorithm::Rs256, &long).is_err());
}
