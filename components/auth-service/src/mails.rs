//! What is mailed, and how pages that mails lead to look.

use sdk::{Result, config, mail::Mail};

fn link(path: &str, token: &str) -> Result<String> {
    let base: String = config::get("public-url")?;
    Ok(format!("{}{path}?token={token}", base.trim_end_matches('/')))
}

/// A mail with a sentence, a link and the token for those who cannot follow it.
fn with_link(to: &str, subject: &str, sentence: &str, link: &str, token: &str, rest: &str) -> Mail {
    let text = format!("{sentence}\n\n  {link}\n\nOr enter this code:\n\n  {token}\n\n{rest}\n");
    let html = format!(
        "<p>{sentence}</p><p><a href=\"{link}\">{link}</a></p>\
         <p>Or enter this code:</p><p><code>{token}</code></p><p>{rest}</p>"
    );
    Mail::to(to, subject).text(text).html(html)
}

pub(crate) fn verify(to: &str, token: &str) -> Result<Mail> {
    let hours: u64 = config::get("verify-email-hours")?;
    Ok(with_link(
        to,
        "Confirm your e-mail address",
        "Confirm that this address is yours to finish the registration:",
        &link("/api/v1/auth/verify-email", token)?,
        token,
        &format!("This is good for {hours} hours. If you did not register, ignore this mail."),
    ))
}

pub(crate) fn reset(to: &str, token: &str) -> Result<Mail> {
    let minutes: u64 = config::get("reset-password-minutes")?;
    Ok(with_link(
        to,
        "Set a new password",
        "Somebody, hopefully you, asked for a new password. Set it here:",
        &link("/api/v1/auth/password/reset", token)?,
        token,
        &format!("This is good for {minutes} minutes. If it was not you, ignore this mail."),
    ))
}

/// For whoever has an account already: the answer to the request does not tell.
pub(crate) fn already_registered(to: &str) -> Mail {
    Mail::to(to, "You have an account already").text(
        "Somebody, hopefully you, registered with this address, which has an account already. \
         Sign in with your password, or ask for a new one if you forgot it. If it was not you, \
         there is nothing to do.\n",
    )
}

pub(crate) fn password_changed(to: &str) -> Mail {
    Mail::to(to, "Your password was changed").text(
        "The password of your account was changed, and other devices were signed out. If it was \
         not you, ask for a new password now.\n",
    )
}

/// Text in HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><h1>{title}</h1>{body}</html>"
    )
}

/// A page that says something.
pub(crate) fn message_page(title: &str, sentence: &str) -> String {
    page(title, &format!("<p>{}</p>", escape(sentence)))
}

/// A page that posts: a mail scanner that follows links uses no token up.
pub(crate) fn verify_page(token: &str) -> String {
    page(
        "Confirm your e-mail address",
        &format!(
            "<form method=\"post\" action=\"/api/v1/auth/verify-email/confirm\">\
             <input type=\"hidden\" name=\"token\" value=\"{}\">\
             <button>Confirm</button></form>",
            escape(token)
        ),
    )
}

/// A page that asks for the new password.
pub(crate) fn reset_page(token: &str, fault: &str) -> String {
    let fault = if fault.is_empty() {
        String::new()
    } else {
        format!("<p role=\"alert\">{}</p>", escape(fault))
    };
    page(
        "Set a new password",
        &format!(
            "{fault}<form method=\"post\" action=\"/api/v1/auth/password/reset/confirm\">\
             <input type=\"hidden\" name=\"token\" value=\"{}\">\
             <label>New password <input type=\"password\" name=\"new_password\" \
             autocomplete=\"new-password\" required></label> <button>Set</button></form>",
            escape(token)
        ),
    )
}
