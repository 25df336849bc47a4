//! Registration and proof of the address.

use sdk::{
    Error, Result, Schema, Timestamp, Uuid, config, crypto,
    http::{Accepted, Form, Json, Query, Routes},
    sql::{self, Committed},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{HtmlPage, mailed, published::UserRegistered, session};
use crate::{
    domain::account::{User, check_password, email_key},
    mails,
    store::{
        attempts,
        one_time::{self, Purpose},
        users,
    },
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "accounts";
    /// Registers a user.
    ///
    /// The answer is the same whether the address has an account or not; what happened is mailed.
    POST "/api/v1/auth/register" => register;
    /// Proves an address by the token that was mailed.
    POST "/api/v1/auth/verify-email" => verify_email;
    /// The page that the mailed link leads to.
    GET "/api/v1/auth/verify-email" => verify_email_page;
    /// What that page posts.
    POST "/api/v1/auth/verify-email/confirm" => verify_email_confirm;
    /// Mails another token to an address that is registered and not proven.
    POST "/api/v1/auth/verify-email/resend" => resend;
};

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Register {
    /// The address.
    #[schema(format = "email", max_length = 254, example = "ada@example.com")]
    email: String,
    /// The password; its length is the operator's choice, 12 characters at least unless changed.
    #[schema(max_length = 1024, example = "a long sentence is good")]
    password: String,
    /// What the user wants to be called.
    #[schema(not_blank, max_length = 200, example = "Ada")]
    name: Option<String>,
}

/// What was begun.
#[derive(Debug, Serialize, Schema)]
pub(super) struct Mailed {
    /// Always `mailed`.
    #[schema(example = "mailed")]
    status: String,
    /// What to do next.
    detail: String,
}

impl Mailed {
    pub(super) fn new(detail: &str) -> Self {
        Self { status: "mailed".to_owned(), detail: detail.to_owned() }
    }
}

/// Mails that may be under way to an address that nobody has proven.
const MOST_PENDING: i64 = 5;

const REGISTERED: &str = "follow the link in the mail to finish the registration";
const RESENT: &str = "if the address waits for its proof, a mail is on its way";

/// 422 at `pointer` for a password that may not be used.
pub(super) fn accept_password(pointer: &str, password: &str, email: &str) -> Result<()> {
    let min = config::get("password-min-length")?;
    check_password(password, email, min).map_err(|fault| Error::violation(pointer, fault))
}

/// A new account, with a tenant of its own.
pub(super) fn new_user(email: String, name: Option<String>, hash: String, now: Timestamp) -> User {
    User {
        id: Uuid::v7(),
        tenant_id: Uuid::v7().to_string(),
        email_key: email_key(&email),
        email,
        name,
        password_hash: hash,
        disabled: false,
        verified_at: None,
        password_changed_at: now,
        mailed_at: None,
        created_at: now,
        version: 1,
    }
}

fn register(Json(input): Json<Register>) -> Result<Committed<Accepted<Mailed>>> {
    let key = email_key(&input.email);
    accept_password("/password", &input.password, &key)?;
    // Before it is known whether the account exists, so that the time tells nothing.
    let hash = crypto::password::hash(&input.password)?;
    let login = session::login_hash(&key)?;
    let now = Timestamp::now();
    let tx = sql::begin()?;
    attempts::asked_for_mail(&tx, &login, now)?;
    match users::by_email(&tx, &key)? {
        None => {
            let user = new_user(input.email.trim().to_owned(), input.name, hash.clone(), now);
            users::insert(&tx, &user, json!({"method": "password"}))?;
            tx.publish(&UserRegistered::of(&user, "password"))?;
            mailed::send(&tx, &user, Purpose::Verify, Some(hash), now)?;
        }
        // Nobody has proven to have the address: each mail proves the registration it is of, so
        // that whoever registered first cannot keep a way in.
        Some(user) if user.verified_at.is_none() => {
            if one_time::pending(&tx, user.id, Purpose::Verify, now)? < MOST_PENDING {
                users::rehash(&tx, user.id, &hash)?;
                mailed::send(&tx, &user, Purpose::Verify, Some(hash), now)?;
            }
        }
        Some(user) => {
            if mailed::may_mail(&user, now)? {
                tx.send_mail(&mails::already_registered(&user.email))?;
                users::mailed(&tx, user.id, now)?;
            }
        }
    }
    tx.commit_with(Accepted(Mailed::new(REGISTERED)))
}

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Token {
    /// As it was mailed.
    #[schema(max_length = 200)]
    token: String,
}

/// What was proven.
#[derive(Debug, Serialize, Schema)]
struct Verified {
    /// The address.
    email: String,
    /// Always true.
    email_verified: bool,
}

fn verify(token: &str) -> Result<Verified> {
    let now = Timestamp::now();
    let tx = sql::begin()?;
    let (found, mut user) = mailed::find(&tx, token.trim(), Purpose::Verify)?;
    // Twice the same click is no fault.
    if found.used_at.is_none() || user.verified_at.is_none() {
        mailed::spend(&tx, &found, now)?;
        user.verified_at = Some(now);
        if let Some(hash) = found.password_hash {
            user.password_hash = hash;
        }
        users::save(&tx, &mut user, "user.email-verified", json!({}))?;
        tx.commit()?;
    }
    Ok(Verified { email: user.email, email_verified: true })
}

fn verify_email(Json(input): Json<Token>) -> Result<Json<Verified>> {
    verify(&input.token).map(Json)
}

fn verify_email_page(Query(query): Query<Token>) -> HtmlPage {
    HtmlPage(200, mails::verify_page(&query.token))
}

fn verify_email_confirm(Form(form): Form<Token>) -> Result<HtmlPage> {
    Ok(match verify(&form.token) {
        Ok(_) => HtmlPage(
            200,
            mails::message_page("Address confirmed", "Thank you. You can sign in now."),
        ),
        Err(error) => {
            HtmlPage(400, mails::message_page("This did not work", &mailed::sentence(error)?))
        }
    })
}

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(super) struct Address {
    /// The address.
    #[schema(format = "email", max_length = 254, example = "ada@example.com")]
    pub(super) email: String,
}

fn resend(Json(input): Json<Address>) -> Result<Committed<Accepted<Mailed>>> {
    let key = email_key(&input.email);
    let login = session::login_hash(&key)?;
    let now = Timestamp::now();
    let tx = sql::begin()?;
    attempts::asked_for_mail(&tx, &login, now)?;
    if let Some(user) = users::by_email(&tx, &key)?
        && user.verified_at.is_none()
        && mailed::may_mail(&user, now)?
    {
        mailed::send(&tx, &user, Purpose::Verify, None, now)?;
    }
    tx.commit_with(Accepted(Mailed::new(RESENT)))
}
