//! The syntax tree. Chains of one precedence level are flat, so depth grows only with nesting.

use super::functions::Function;

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Concat,
    Add,
    Sub,
    Mul,
    Div,
}

/// A node of a compiled formula.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Num(f64),
    Text(String),
    /// A column, by id.
    Field(String),
    /// The name `values` inside a rollup.
    Values,
    Neg(Box<Expr>),
    /// Operands of one precedence level, applied from the left.
    Chain(Box<Expr>, Vec<(Op, Expr)>),
    Call(&'static Function, Vec<Expr>),
}

/// What a formula gives, for the `result` of the column's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResultKind {
    Text,
    Number,
    Date,
}

impl Expr {
    pub(crate) fn result_kind(&self) -> ResultKind {
        match self {
            Self::Num(_) | Self::Neg(_) => ResultKind::Number,
            Self::Text(_) | Self::Field(_) | Self::Values => ResultKind::Text,
            Self::Chain(_, rest) => match rest.first() {
                Some((Op::Concat, _)) | None => ResultKind::Text,
                Some(_) => ResultKind::Number,
            },
            Self::Call(function, args) => match function.name {
                "IF" => args.get(1).map_or(ResultKind::Text, Self::result_kind),
                "SWITCH" => args.get(2).map_or(ResultKind::Text, Self::result_kind),
                _ => function.result,
            },
        }
    }
}
