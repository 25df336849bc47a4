//! Changing a password, and setting one that was forgotten.

use std::time::Duration;

use serde_json::json;

use super::{
    EMAIL, PASSWORD, client, host, is_problem, login, mailed, refresh, register, signed_in,
};

const NEW: &str = "quite another sentence";

#[test]
fn a_change_keeps_this_session_and_ends_the_others() {
    let host = host();
    let first = signed_in(&host, EMAIL);
    let second = login(&host, EMAIL, PASSWORD).expect(200).value();
    let user = client(&host, second["access_token"].as_str().unwrap());
    let change = |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        user.post("/api/v1/auth/password/change").json(&body).send()
    };
    let wrong = change("not the password", NEW).expect(422);
    assert_eq!(wrong.value()["errors"][0]["pointer"], "/current_password");
    assert_eq!(
        change(PASSWORD, "short").expect(422).value()["errors"][0]["pointer"],
        "/new_password"
    );
    change(PASSWORD, NEW).expect(204);
    refresh(&host, &first["refresh_token"]).expect(401);
    refresh(&host, &second["refresh_token"]).expect(200);
    login(&host, EMAIL, PASSWORD).expect(401);
    login(&host, EMAIL, NEW).expect(200);
    let revoked = host.published("session.revoked");
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].data["reason"], "password-changed");
    assert!(host.mails().pop().unwrap().subject.contains("changed"));
    host.anonymous().post("/api/v1/auth/password/change").json(&json!({})).send().expect(401);
}

#[test]
fn guesses_of_the_current_password_lock_too() {
    let host = host();
    let tokens = signed_in(&host, EMAIL);
    let user = client(&host, tokens["access_token"].as_str().unwrap());
    let body = json!({"current_password": "a guess of the password", "new_password": NEW});
    let change = || user.post("/api/v1/auth/password/change").json(&body).send();
    for _ in 0..5 {
        change().expect(422);
    }
    is_problem(&change().expect(429), "auth.locked");
}

#[test]
fn a_forgotten_password_is_set_by_mail_once() {
    let host = host();
    let tokens = signed_in(&host, EMAIL);
    let forgot = |email: &str| {
        let body = json!({"email": email});
        host.anonymous().post("/api/v1/auth/password/forgot").json(&body).send().expect(202).text()
    };
    host.advance(Duration::from_secs(61));
    let before = host.mails().len();
    assert_eq!(forgot(EMAIL), forgot("nobody@example.com"));
    assert_eq!(host.mails().len(), before + 1);
    let token = mailed(&host);
    let reset = |password: &str| {
        let body = json!({"token": token, "new_password": password});
        host.anonymous().post("/api/v1/auth/password/reset").json(&body).send()
    };
    reset("short").expect(422);
    // A locked name is free again.
    for _ in 0..5 {
        login(&host, EMAIL, "a wrong password").expect(401);
    }
    login(&host, EMAIL, PASSWORD).expect(429);
    reset(NEW).expect(204);
    is_problem(&reset(NEW).expect(400), "token_invalid");
    refresh(&host, &tokens["refresh_token"]).expect(401);
    login(&host, EMAIL, NEW).expect(200);
    // A token of one purpose is none of another.
    host.advance(Duration::from_secs(61));
    forgot(EMAIL);
    super::verify(&host, &mailed(&host)).expect(400);
}

#[test]
fn a_reset_token_is_good_for_half_an_hour_and_proves_the_address() {
    let host = host();
    register(&host, EMAIL, PASSWORD).expect(202);
    let anyone = host.anonymous();
    let forgot = || {
        host.advance(Duration::from_secs(61));
        anyone
            .post("/api/v1/auth/password/forgot")
            .json(&json!({"email": EMAIL}))
            .send()
            .expect(202);
        mailed(&host)
    };
    let late = forgot();
    host.advance(Duration::from_secs(1801));
    let form = |token: &str, password: &str| {
        let form = format!("token={token}&new_password={}", password.replace(' ', "+"));
        anyone.post("/api/v1/auth/password/reset/confirm").form(&form).send()
    };
    form(&late, NEW).expect(400);
    let token = forgot();
    let page = anyone.get(&format!("/api/v1/auth/password/reset?token={token}")).send().expect(200);
    assert!(page.text().contains("type=\"password\""));
    assert!(form(&token, "short").expect(422).text().contains("at least 12 characters"));
    form(&token, NEW).expect(200);
    login(&host, EMAIL, NEW).expect(200);
}
