codes! {
    IDENTITY_UNAVAILABLE = "identity.unavailable", Unavailable;
        "There is no valid certificate for this identity now.";
        "`airhost mesh status` shows the last error of each identity; check the issuer and the node's clock.";
    IDENTITY_REQUEST = "identity.request-invalid", Invalid;
        "The signing request cannot be signed as it is.";
        "Send a PKCS #10 request, signed with its own ECDSA P-256 key, that asks for no other name than the identity's.";
    IDENTITY_DENIED = "identity.denied", Denied;
        "The node may not have a certificate for this identity.";
        "A node gets certificates for itself and for the services it runs; place the service on the node first.";
    IDENTITY_AUTHORITY = "identity.authority", Unavailable;
        "The certificate authority cannot sign now.";
        "Check the node's state folder, its clock and its log.";
    IDENTITY_TOKEN = "identity.join-token", Invalid;
        "The text is not a join token.";
        "Copy all of what `airhost node invite` printed.";
    IDENTITY_JOIN_REFUSED = "identity.join-refused", Denied;
        "The invitation is unknown or used, or is not for what is asked.";
        "Make a new one with `airhost node invite <node>`, and use it once and on that node.";
    IDENTITY_JOIN_EXPIRED = "identity.join-expired", Denied;
        "The invitation has expired.";
        "Make a new one with `airhost node invite <node>`.";
    IDENTITY_JOIN_REPLY = "identity.join-reply", Denied;
        "What the inviting node answered does not fit the join token.";
        "Join again with a new invitation; if that does not help, something else answers at the address.";
}
