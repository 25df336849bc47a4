//! Invitations to a tenant.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sdk::{
    Error, Principal, Result, Schema, Tenant, Timestamp, Uuid, config, crypto,
    http::{Created, Json, NoContent, Page, PageQuery, Path, Routes},
    mail::Mail,
    random,
    sql::{Committed, Db},
};
use serde::Deserialize;

use super::{
    not_allowed,
    published::{self, Container},
    user_of, writer_of,
};
use crate::{
    domain::{Invitation, key, member::Role, profile::Profile},
    store::{
        invitations, members, profiles,
        tenants::{self, OwnTenant},
        workspaces,
    },
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "invitations";
    /// Invites somebody to the tenant by mail.
    POST "/api/v1/tenants/current/invitations" => invite, errors [403, 409];
    /// Lists invitations that wait to be accepted.
    GET "/api/v1/tenants/current/invitations" => list;
    /// Withdraws an invitation.
    DELETE "/api/v1/tenants/current/invitations/{id}" => withdraw;
    /// Accepts an invitation by the token that was mailed.
    ///
    /// The user who asks has the address it was mailed to.
    POST "/api/v1/tenants/invitations/accept" => accept, errors [400, 403];
};

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct NewInvitation {
    /// Who is invited.
    #[schema(format = "email", max_length = 254, example = "grace@example.com")]
    email: String,
    /// The role in the tenant.
    role: Role,
    /// A workspace to join with the same role.
    workspace_id: Option<Uuid>,
}

const PREFIX: &str = "inv_";

fn write_token(id: Uuid, secret: &[u8; 32]) -> String {
    let bytes = [id.as_bytes().as_slice(), secret].concat();
    format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

fn read_token(token: &str) -> Option<Uuid> {
    let text = token.strip_prefix(PREFIX).filter(|text| text.len() == 64)?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(Uuid::from_bytes(*bytes.first_chunk()?))
}

fn mail(invitation: &Invitation, tenant: &str, from: &str, token: &str) -> Result<Mail> {
    let days: u64 = config::get("invitation-days")?;
    let app: String = config::get("app-url")?;
    let link = if app.is_empty() {
        String::new()
    } else {
        format!(
            "  {}/invitations?token={token}\n\nOr use this code:\n\n",
            app.trim_end_matches('/')
        )
    };
    // Names are what users chose; a line break in a subject would be refused.
    let line = |text: &str| text.replace(char::is_control, " ");
    let (tenant, from) = (line(tenant), line(from));
    Ok(Mail::to(&invitation.email, format!("{from} invited you to {tenant}")).text(format!(
        "{from} invited you to {tenant} as {}.\n\nSign in, or register with this address, and \
         accept the invitation with this code:\n\n{link}  {token}\n\nIt is good for {days} days. \
         If you do not expect it, ignore this mail.\n",
        invitation.role,
    )))
}

fn invite(
    principal: Principal,
    db: Db<'static>,
    Json(input): Json<NewInvitation>,
) -> Result<Committed<Created<Invitation>>> {
    let user = writer_of(&principal)?;
    let now = Timestamp::now();
    let tx = db.begin()?;
    let own = members::standing(&tx, user, None)?.tenant_role;
    if !own.may_change(None, Some(input.role)) {
        return Err(not_allowed());
    }
    if let Some(id) = input.workspace_id
        && workspaces::get(&tx, id)?.is_none()
    {
        return Err(Error::violation("/workspace_id", "is no workspace of the tenant"));
    }
    let (pending, same, known) = invitations::counts(&tx, &input.email, now)?;
    if known > 0 {
        return Err(Error::conflict("the address is that of a member").code_is("invitation.member"));
    }
    if same > 0 {
        return Err(Error::conflict("the address is invited already; withdraw that first")
            .code_is("invitation.pending"));
    }
    if pending >= config::get("pending-invitations")? {
        return Err(Error::conflict("as many invitations wait as may; withdraw some")
            .code_is("invitation.too-many"));
    }
    let days: u64 = config::get("invitation-days")?;
    let invitation = Invitation {
        id: Uuid::v7(),
        email: input.email.trim().to_owned(),
        role: input.role,
        workspace_id: input.workspace_id,
        invited_by: user,
        created_at: now,
        expires_at: now + Duration::from_secs(days * 86_400),
    };
    let token = write_token(invitation.id, &random::bytes());
    invitations::insert(&tx, &invitation, &crypto::sha256_hex(token.as_bytes()))?;
    let from = profiles::get(&tx, user)?.display_name;
    tx.send_mail(&mail(&invitation, &tenants::get(&tx)?.name, &from, &token)?)?;
    let location = format!("/api/v1/tenants/current/invitations/{}", invitation.id);
    tx.commit_with(Created::at(location, invitation))
}

fn managing(principal: &Principal, db: &Db<'_>) -> Result<()> {
    if members::standing(db, user_of(principal)?, None)?.tenant_role.manages() {
        Ok(())
    } else {
        Err(not_allowed())
    }
}

fn list(principal: Principal, page: PageQuery, db: Db<'static>) -> Result<Page<Invitation>> {
    managing(&principal, &db)?;
    invitations::list(&db, &page, Timestamp::now())
}

fn withdraw(principal: Principal, Path(id): Path<Uuid>, db: Db<'static>) -> Result<NoContent> {
    writer_of(&principal)?;
    managing(&principal, &db)?;
    if invitations::delete(&db, id)? {
        Ok(NoContent)
    } else {
        Err(Error::not_found("there is no such invitation"))
    }
}

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Acceptance {
    /// As it was mailed.
    #[schema(max_length = 200)]
    token: String,
}

fn accept(
    principal: Principal,
    db: Db<'static>,
    Json(input): Json<Acceptance>,
) -> Result<Json<OwnTenant>> {
    let invalid =
        || Error::new(400, "invitation.invalid", "the code is wrong, used, withdrawn or expired");
    let user = writer_of(&principal)?;
    let now = Timestamp::now();
    let token = input.token.trim();
    let id = read_token(token).ok_or_else(invalid)?;
    let own = profiles::get(&db, user)?;
    let tx = db.begin()?;
    let known = invitations::known(&tx.for_tenant(None), id)?.ok_or_else(invalid)?;
    let hash = crypto::sha256_hex(token.as_bytes());
    if !crypto::equal(hash.as_bytes(), known.token_hash.as_bytes()) || known.expires_at <= now {
        return Err(invalid());
    }
    if key(&own.email) != known.email_key {
        return Err(Error::forbidden("the invitation was mailed to another address")
            .code_is("invitation.other-address"));
    }
    let there = tx.for_tenant(Some(Tenant::new(known.tenant_id)));
    let tenant = tenants::get(&there)?;
    invitations::delete(&there, id)?;
    if members::join(&there, user, known.role, now)? {
        let profile = Profile { created_at: now, version: 1, ..own };
        if profiles::insert(&there, &profile)? {
            published::created(&there, &profile)?;
        }
        published::membership(&there, user, Container::Tenant, None, Some(known.role))?;
        if let Some(workspace) = known.workspace_id
            && workspaces::get(&there, workspace)?.is_some()
        {
            members::put_in_workspace(&there, workspace, (user, known.role), 1, now)?;
            let container = Container::Workspace(workspace);
            published::membership(&there, user, container, None, Some(known.role))?;
        }
    }
    tx.commit()?;
    Ok(Json(OwnTenant { id: tenant.id, name: tenant.name, role: known.role, current: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_their_invitation() {
        let id: Uuid = "0192f0c1-2345-7abc-8def-0123456789ab".parse().unwrap();
        let token = write_token(id, &[9; 32]);
        assert_eq!(read_token(&token), Some(id));
        for bad in ["", "inv_", &token[..67], "rt_x", "inv_é"] {
            assert_eq!(read_token(bad), None, "{bad}");
        }
    }
}
