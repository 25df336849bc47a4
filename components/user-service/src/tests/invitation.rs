//! Invitations.

use std::time::Duration;

use serde_json::json;

use super::{
    ADA, BOB, EVE, T1, T2, accept, ada, address, bob, bob_joins, code, eve, first_workspace, host,
    mailed,
};

const PATH: &str = "/api/v1/tenants/current/invitations";

#[test]
fn an_invitation_is_mailed_and_accepted_once_by_whom_it_was_mailed_to() {
    let host = host();
    let workspace = first_workspace(&ada(&host));
    let id = workspace.rsplit('/').next().unwrap();
    let body = json!({"email": "EVE@example.com", "role": "editor", "workspace_id": id});
    let made = ada(&host).post(PATH).json(&body).send().expect(201);
    assert!(made.value().get("token").is_none());
    let mail = host.mails().pop().unwrap();
    assert_eq!(mail.subject, "Ada invited you to Ada");
    let token = mailed(&host);
    let listed = ada(&host).get(PATH).send().expect(200).value();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);

    let forbidden = accept(&host, ADA, T1, &token).expect(403);
    assert_eq!(code(&forbidden), "invitation.other-address");
    let joined = accept(&host, EVE, T2, &token).expect(200).value();
    assert_eq!(joined["id"], T1);
    assert_eq!(joined["role"], "editor");
    assert_eq!(code(&accept(&host, EVE, T2, &token).expect(400)), "invitation.invalid");

    let there = host.as_user(EVE, T1);
    assert_eq!(there.get("/api/v1/users/me").send().expect(200).value()["display_name"], "Eve");
    there.get(&workspace).send().expect(200);
    let events = host.published("membership.changed");
    let last: Vec<_> = events.iter().rev().take(2).collect();
    assert!(
        last.iter().all(|event| event.data["tenant_id"] == T1 && event.data["member_id"] == EVE)
    );
    assert_eq!(host.published("user.created").pop().unwrap().data["tenant_id"], T1);
    assert_eq!(ada(&host).get(PATH).send().value()["data"], json!([]));
}

#[test]
fn a_code_is_right_in_time_and_not_withdrawn() {
    let host = host();
    let body = json!({"email": address("Eve"), "role": "viewer"});
    let made = ada(&host).post(PATH).json(&body).send().expect(201);
    let path = made.header("location").unwrap().to_owned();
    let token = mailed(&host);
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    let forged = format!("{}{last}", &token[..token.len() - 1]);
    for bad in ["", "inv_", forged.as_str(), "nothing"] {
        accept(&host, EVE, T2, bad).expect(400);
    }
    let again = ada(&host).post(PATH).json(&body).send().expect(409);
    assert_eq!(code(&again), "invitation.pending");
    eve(&host).delete(&path).send().expect(404);
    ada(&host).delete(&path).send().expect(204);
    ada(&host).delete(&path).send().expect(404);
    accept(&host, EVE, T2, &token).expect(400);

    ada(&host).post(PATH).json(&body).send().expect(201);
    host.advance(Duration::from_secs(14 * 86_400 + 1));
    accept(&host, EVE, T2, &mailed(&host)).expect(400);
    // One that has expired is in nobody's way.
    ada(&host).post(PATH).json(&body).send().expect(201);
}

#[test]
fn only_who_manages_invites_and_none_above_themselves() {
    let host = host();
    bob_joins(&host, "editor");
    let invite = |role: &str| json!({"email": "new@example.com", "role": role});
    bob(&host).post(PATH).json(&invite("viewer")).send().expect(403);
    bob(&host).get(PATH).send().expect(403);
    let member = format!("/api/v1/tenants/current/members/{BOB}");
    ada(&host).put(&member).json(&json!({"role": "admin"})).send().expect(200);
    bob(&host).post(PATH).json(&invite("owner")).send().expect(403);
    bob(&host).post(PATH).json(&invite("admin")).send().expect(201);
    let known = json!({"email": address("Ada"), "role": "viewer"});
    let answer = bob(&host).post(PATH).json(&known).send().expect(409);
    assert_eq!(code(&answer), "invitation.member");
}

#[test]
fn bad_invitations_are_told_by_pointer_and_mail_nobody() {
    let host = host().with_config("pending-invitations", 0);
    let foreign = first_workspace(&eve(&host));
    let foreign = foreign.rsplit('/').next().unwrap();
    let rows = [
        (json!({"email": "x", "role": "viewer"}), "/email"),
        (json!({"email": "x@example.com", "role": "root"}), "/role"),
        (
            json!({"email": "x@example.com", "role": "viewer", "workspace_id": foreign}),
            "/workspace_id",
        ),
    ];
    for (body, pointer) in rows {
        let answer = ada(&host).post(PATH).json(&body).send().expect(422);
        assert_eq!(answer.value()["errors"][0]["pointer"], pointer, "{body}");
    }
    let body = json!({"email": "x@example.com", "role": "viewer"});
    assert_eq!(code(&ada(&host).post(PATH).json(&body).send().expect(409)), "invitation.too-many");
    assert!(host.mails().is_empty());
}

#[test]
fn a_repeated_invitation_is_mailed_once() {
    let host = host();
    let body = json!({"email": "x@example.com", "role": "viewer"});
    let post = || ada(&host).post(PATH).idempotency_key("k").json(&body).send().expect(201).text();
    assert_eq!(post(), post());
    assert_eq!(host.mails().len(), 1);
}
