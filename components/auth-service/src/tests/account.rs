//! Registration and proof of the address.

use std::time::Duration;

use serde_json::json;

use super::{EMAIL, PASSWORD, host, is_problem, login, mailed, register, verify};

#[test]
fn a_user_registers_proves_the_address_and_signs_in() {
    let host = host();
    register(&host, EMAIL, PASSWORD).expect(202);
    let event = host.published("user.registered").pop().unwrap();
    assert_eq!(event.data["email"], EMAIL);
    assert_eq!(event.data["email_verified"], false);
    assert_eq!(event.data["display_name"], "Ada");
    let mail = host.mails().pop().unwrap();
    assert_eq!(mail.to, [EMAIL]);
    let token = mailed(&host);
    let link = format!("http://127.0.0.1:8000/api/v1/auth/verify-email?token={token}");
    assert!(mail.text.contains(&link), "{}", mail.text);

    is_problem(&login(&host, EMAIL, PASSWORD).expect(403), "email_unverified");
    verify(&host, &token).expect(200);
    // Twice the same click is no fault.
    verify(&host, &token).expect(200);
    let tokens = login(&host, "ADA@example.com", PASSWORD).expect(200).value();
    assert_eq!(tokens["user_id"], event.data["user_id"]);
    assert_eq!(tokens["user"]["tenant_id"], event.data["tenant_id"]);
    assert_eq!(tokens["user"]["role"], "owner");
    assert_eq!(host.published("user.registered").len(), 1);
}

#[test]
fn an_address_that_is_known_is_answered_the_same() {
    let host = host();
    let first = register(&host, EMAIL, PASSWORD).expect(202).text();
    verify(&host, &mailed(&host)).expect(200);
    host.advance(Duration::from_secs(61));
    let second = register(&host, EMAIL, "another long sentence").expect(202);
    assert_eq!(second.text(), first);
    assert_eq!(host.published("user.registered").len(), 1);
    let mail = host.mails().pop().unwrap();
    assert!(mail.subject.contains("already"), "{}", mail.subject);
    assert!(!mail.text.contains("ot_"));
    // What was tried is not the password.
    login(&host, EMAIL, "another long sentence").expect(401);
    login(&host, EMAIL, PASSWORD).expect(200);
    // And no flood of mails.
    register(&host, EMAIL, PASSWORD).expect(202);
    assert_eq!(host.mails().len(), 2);
}

#[test]
fn each_mail_proves_the_registration_it_is_of() {
    let host = host();
    register(&host, EMAIL, "what the thief has chosen").expect(202);
    let thief = mailed(&host);
    register(&host, EMAIL, PASSWORD).expect(202);
    let owner = mailed(&host);
    register(&host, EMAIL, "what the thief tries again").expect(202);
    verify(&host, &owner).expect(200);
    login(&host, EMAIL, PASSWORD).expect(200);
    login(&host, EMAIL, "what the thief has chosen").expect(401);
    is_problem(&verify(&host, &thief).expect(400), "token_invalid");
}

#[test]
fn mails_to_an_unproven_address_are_few() {
    let host = host();
    for _ in 0..10 {
        register(&host, EMAIL, PASSWORD).expect(202);
    }
    assert_eq!(host.mails().len(), 5);
}

#[test]
fn a_mailed_token_is_right_in_time_and_whole() {
    let host = host();
    register(&host, EMAIL, PASSWORD).expect(202);
    let token = mailed(&host);
    let wrong = format!("{}A", &token[..token.len() - 1]);
    for bad in ["", "ot_", "nothing", wrong.as_str(), "rt_", &"é".repeat(67)] {
        if bad != token {
            is_problem(&verify(&host, bad).expect(400), "token_invalid");
        }
    }
    host.advance(Duration::from_secs(24 * 3600 + 1));
    verify(&host, &token).expect(400);
    let body = json!({"email": EMAIL});
    let resend =
        || host.anonymous().post("/api/v1/auth/verify-email/resend").json(&body).send().expect(202);
    resend();
    let again = mailed(&host);
    assert_ne!(again, token);
    resend();
    assert_eq!(host.mails().len(), 2, "one a minute");
    verify(&host, &again).expect(200);
    login(&host, EMAIL, PASSWORD).expect(200);
    // To an address that is proven or unknown nothing is sent, and the answer is the same.
    host.advance(Duration::from_secs(61));
    let known = resend().text();
    let body = json!({"email": "nobody@example.com"});
    let unknown =
        host.anonymous().post("/api/v1/auth/verify-email/resend").json(&body).send().expect(202);
    assert_eq!(unknown.text(), known);
    assert_eq!(host.mails().len(), 2);
}

#[test]
fn the_page_of_the_link_posts_what_it_was_given() {
    let host = host();
    register(&host, EMAIL, PASSWORD).expect(202);
    let token = mailed(&host);
    let anyone = host.anonymous();
    let page = anyone.get(&format!("/api/v1/auth/verify-email?token={token}")).send().expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.text().contains(&format!("value=\"{token}\"")));
    // Following the link alone proves nothing: mail scanners do.
    login(&host, EMAIL, PASSWORD).expect(403);
    let confirm = |form: &str| anyone.post("/api/v1/auth/verify-email/confirm").form(form).send();
    assert!(confirm("token=ot_x").expect(400).text().contains("did not work"));
    assert!(confirm(&format!("token={token}")).expect(200).text().contains("confirmed"));
    login(&host, EMAIL, PASSWORD).expect(200);
    let evil = anyone.get("/api/v1/auth/verify-email?token=%22%3E%3Cscript%3E").send().expect(200);
    assert!(!evil.text().contains("<script>"));
}

#[test]
fn bad_input_is_told_by_pointer_and_nothing_is_written() {
    let host = host();
    let rows = [
        (json!({"email": EMAIL}), "/password"),
        (json!({"email": "ada", "password": PASSWORD}), "/email"),
        (json!({"email": EMAIL, "password": "short"}), "/password"),
        (json!({"email": EMAIL, "password": "password1234"}), "/password"),
        (json!({"email": "ada.lovelace@example.com", "password": "Ada.Lovelace"}), "/password"),
        (json!({"email": EMAIL, "password": PASSWORD, "name": " "}), "/name"),
        (json!({"email": EMAIL, "password": PASSWORD, "role": "owner"}), "/role"),
    ];
    for (body, pointer) in rows {
        let answer = host.anonymous().post("/api/v1/auth/register").json(&body).send().expect(422);
        assert_eq!(answer.value()["errors"][0]["pointer"], pointer, "{body}");
    }
    assert!(host.all_published().is_empty());
    assert!(host.mails().is_empty());
}

#[test]
fn a_repeated_registration_is_answered_once() {
    let host = host();
    let body = json!({"email": EMAIL, "password": PASSWORD});
    let post = || {
        let post = host.anonymous().post("/api/v1/auth/register");
        post.idempotency_key("k").json(&body).send().expect(202).text()
    };
    assert_eq!(post(), post());
    assert_eq!(host.mails().len(), 1);
}

#[test]
fn nothing_is_half_written_when_the_mail_cannot_be_taken() {
    let host = host();
    host.fail("mail/mailer", Some(sdk::Error::unavailable("no mail")));
    register(&host, EMAIL, PASSWORD).expect(503);
    host.fail("mail/mailer", None);
    assert!(host.all_published().is_empty());
    let users: Vec<(i64,)> = host.query("SELECT count(*) FROM users", vec![]);
    assert_eq!(users, [(0,)]);
    register(&host, EMAIL, PASSWORD).expect(202);
}
