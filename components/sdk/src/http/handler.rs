//! Functions as handlers.

use super::{Cx, FromRequest, IntoReply, Reply};
use crate::{Result, openapi::Operation};

/// A function whose arguments are extractors and whose result is a reply: up to eight arguments,
/// extracted in order, of which one may take the body.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    note = "every argument must be FromRequest (Path, Query, Json, Principal, Tenant, …) and the result IntoReply, as `Result<Json<T>>`"
)]
pub trait Handler<Args> {
    /// Extracts the arguments, calls the function and makes the reply.
    ///
    /// # Errors
    /// What an extractor or the function answers.
    fn call(&self, cx: &mut Cx) -> Result<Reply>;

    /// Tells what the function takes and answers.
    fn describe(op: &mut Operation);
}

/// [`Handler::describe`] of a function.
#[doc(hidden)]
pub fn describe_handler<Args, H: Handler<Args>>(_handler: &H, op: &mut Operation) {
    H::describe(op);
}

macro_rules! handlers {
    ($($($arg:ident)*;)*) => {$(
        impl<F, R, $($arg,)*> Handler<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> R,
            R: IntoReply,
            $($arg: FromRequest,)*
        {
            #[allow(non_snake_case, unused_variables, reason = "made for every number of arguments")]
            fn call(&self, cx: &mut Cx) -> Result<Reply> {
                $(let $arg = $arg::from_request(cx)?;)*
                self($($arg),*).into_reply()
            }

            #[allow(unused_variables, reason = "made for every number of arguments")]
            fn describe(op: &mut Operation) {
                $($arg::describe(op);)*
                R::describe(op);
            }
        }
    )*};
}

handlers! {
    ;
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E G;
    A B C D E G H;
    A B C D E G H I;
}
