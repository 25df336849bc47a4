//! The functions both engines have and mean alike.

use super::super::Portable;

/// What a function answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Always this type.
    Type(Portable),
    /// The type of its first argument that has one.
    Argument,
}

/// How a function may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// With a value for each row.
    Scalar,
    /// Over a group, with `DISTINCT` and `FILTER`, or over a window.
    Aggregate,
    /// Over a window only.
    Window,
}

/// A function that may be called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) usage: Use,
    /// Fewest and most arguments.
    pub(super) arguments: (usize, usize),
    pub(super) answer: Answer,
}

const fn function(
    name: &'static str,
    usage: Use,
    arguments: (usize, usize),
    answer: Answer,
) -> Function {
    Function { name, usage, arguments, answer }
}

const TEXT: Answer = Answer::Type(Portable::Text);
const BIGINT: Answer = Answer::Type(Portable::Bigint);
const DOUBLE: Answer = Answer::Type(Portable::Double);

/// `round`, `now`, `random`, date functions and the JSON functions differ between the engines or
/// exist on one only. `lower` and `upper` are ASCII on both (`COLLATE "C"`).
static FUNCTIONS: &[Function] = &[
    function("abs", Use::Scalar, (1, 1), Answer::Argument),
    function("coalesce", Use::Scalar, (2, 50), Answer::Argument),
    function("concat", Use::Scalar, (1, 50), TEXT),
    function("length", Use::Scalar, (1, 1), BIGINT),
    function("lower", Use::Scalar, (1, 1), TEXT),
    function("ltrim", Use::Scalar, (1, 2), TEXT),
    function("nullif", Use::Scalar, (2, 2), Answer::Argument),
    function("replace", Use::Scalar, (3, 3), TEXT),
    function("rtrim", Use::Scalar, (1, 2), TEXT),
    function("upper", Use::Scalar, (1, 1), TEXT),
    function("avg", Use::Aggregate, (1, 1), DOUBLE),
    function("count", Use::Aggregate, (0, 1), BIGINT),
    function("max", Use::Aggregate, (1, 1), Answer::Argument),
    function("min", Use::Aggregate, (1, 1), Answer::Argument),
    function("string_agg", Use::Aggregate, (2, 2), TEXT),
    function("sum", Use::Aggregate, (1, 1), Answer::Argument),
    function("cume_dist", Use::Window, (0, 0), DOUBLE),
    function("dense_rank", Use::Window, (0, 0), BIGINT),
    function("first_value", Use::Window, (1, 1), Answer::Argument),
    function("lag", Use::Window, (1, 3), Answer::Argument),
    function("last_value", Use::Window, (1, 1), Answer::Argument),
    function("lead", Use::Window, (1, 3), Answer::Argument),
    function("nth_value", Use::Window, (2, 2), Answer::Argument),
    function("ntile", Use::Window, (1, 1), BIGINT),
    function("percent_rank", Use::Window, (0, 0), DOUBLE),
    function("rank", Use::Window, (0, 0), BIGINT),
    function("row_number", Use::Window, (0, 0), BIGINT),
];

/// The function of this name, in lower case.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}
