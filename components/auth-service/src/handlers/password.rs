//! Changing a password, and setting one that was forgotten.

use sdk::{
    Error, Principal, Result, Schema, Timestamp, Violation, crypto,
    http::{Accepted, Form, Json, NoContent, Query, Routes},
    sql::{self, Committed, Db},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    HtmlPage,
    account::{Address, Mailed, accept_password},
    mailed, session, session_of, user_of,
};
use crate::{
    domain::account::{User, email_key},
    mails,
    store::{attempts, one_time::Purpose, sessions::Which, users},
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "passwords";
    /// Changes the password, and signs out all other sessions.
    POST "/api/v1/auth/password/change" => change, errors [409, 429];
    /// Mails a token to set a new password with.
    ///
    /// The answer is the same whether the address has an account or not.
    POST "/api/v1/auth/password/forgot" => forgot;
    /// Sets a new password by the token that was mailed, and signs out all sessions.
    POST "/api/v1/auth/password/reset" => reset, errors [409];
    /// The page that the mailed link leads to.
    GET "/api/v1/auth/password/reset" => reset_page;
    /// What that page posts.
    POST "/api/v1/auth/password/reset/confirm" => reset_confirm;
};

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// The password until now.
    #[schema(max_length = 1024)]
    current_password: String,
    /// The password from now on.
    #[schema(max_length = 1024, example = "a long sentence is good")]
    new_password: String,
}

fn change(principal: Principal, Json(input): Json<Change>) -> Result<NoContent> {
    let session = session_of(&principal)?;
    let now = Timestamp::now();
    let user = users::get(&sql::shared(), user_of(&principal)?)?
        .filter(User::is_active)
        .ok_or_else(|| Error::unauthorized("log in to do this"))?;
    let login = session::login_hash(&user.email_key)?;
    session::refuse_locked(&sql::shared(), &login, now)?;
    if !crypto::password::verify(&input.current_password, &user.password_hash)?.matches {
        session::count_failure(&login, Some(&user), now)?;
        let fault = Violation::new("/current_password", "is not the password");
        return Err(Error::violations(vec![fault]).code_is("auth.password-wrong"));
    }
    accept_password("/new_password", &input.new_password, &user.email_key)?;
    let hash = crypto::password::hash(&input.new_password)?;
    let tx = sql::begin()?;
    set(&tx, user, hash, Which::AllBut(Some(session)), now)?;
    tx.commit()?;
    Ok(NoContent)
}

/// Sets a password, ends sessions, forgets failures and tells the user.
fn set(tx: &Db<'_>, mut user: User, hash: String, ended: Which<'_>, now: Timestamp) -> Result<()> {
    user.password_hash = hash;
    user.password_changed_at = now;
    users::save(tx, &mut user, "user.password-changed", json!({}))?;
    session::finish(tx, user.id, ended, "password-changed", now)?;
    attempts::clear(tx, &session::login_hash(&user.email_key)?)?;
    tx.send_mail(&mails::password_changed(&user.email))?;
    Ok(())
}

const FORGOTTEN: &str = "if the address has an account, a mail with what to do is on its way";

fn forgot(Json(input): Json<Address>) -> Result<Committed<Accepted<Mailed>>> {
    let key = email_key(&input.email);
    let login = session::login_hash(&key)?;
    let now = Timestamp::now();
    let tx = sql::begin()?;
    attempts::asked_for_mail(&tx, &login, now)?;
    if let Some(user) = users::by_email(&tx, &key)?
        && !user.disabled
        && mailed::may_mail(&user, now)?
    {
        mailed::send(&tx, &user, Purpose::Reset, None, now)?;
    }
    tx.commit_with(Accepted(Mailed::new(FORGOTTEN)))
}

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Reset {
    /// As it was mailed.
    #[schema(max_length = 200)]
    token: String,
    /// The password from now on.
    #[schema(max_length = 1024, example = "a long sentence is good")]
    new_password: String,
}

fn set_by_token(input: &Reset) -> Result<()> {
    // Hashing is for those who have a token, and happens before the transaction.
    let (_, user) = mailed::find(&sql::shared(), input.token.trim(), Purpose::Reset)?;
    accept_password("/new_password", &input.new_password, &user.email_key)?;
    let hash = crypto::password::hash(&input.new_password)?;
    let now = Timestamp::now();
    let tx = sql::begin()?;
    let (found, mut user) = mailed::find(&tx, input.token.trim(), Purpose::Reset)?;
    mailed::spend(&tx, &found, now)?;
    // Whoever has the mail has the address.
    user.verified_at = user.verified_at.or(Some(now));
    set(&tx, user, hash, Which::AllBut(None), now)?;
    tx.commit()
}

fn reset(Json(input): Json<Reset>) -> Result<NoContent> {
    set_by_token(&input)?;
    Ok(NoContent)
}

#[derive(Deserialize, Schema)]
struct Link {
    /// As it was mailed.
    #[schema(max_length = 200)]
    token: String,
}

fn reset_page(Query(query): Query<Link>) -> HtmlPage {
    HtmlPage(200, mails::reset_page(&query.token, ""))
}

fn reset_confirm(Form(input): Form<Reset>) -> Result<HtmlPage> {
    Ok(match set_by_token(&input) {
        Ok(()) => HtmlPage(
            200,
            mails::message_page("Password set", "You can sign in with your new password now."),
        ),
        Err(error) => match error.faults().first() {
            Some(fault) => {
                let fault = format!("The password {}.", fault.message);
                HtmlPage(422, mails::reset_page(&input.token, &fault))
            }
            None => {
                HtmlPage(400, mails::message_page("This did not work", &mailed::sentence(error)?))
            }
        },
    })
}
