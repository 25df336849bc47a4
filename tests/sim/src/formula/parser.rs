//! Tokens to a syntax tree: recursive descent, one function a precedence level.
//!
//! From the loosest: comparison, `&`, `+ -`, `* /`, unary minus and plus.

use std::ops::Range;

use super::CompileError;
use super::ast::{Expr, Op};
use super::functions;
use super::lexer::{Kind, Token};

/// Deepest nesting of parentheses, calls and signs.
const MAX_DEPTH: usize = 100;

/// What parsing gives: the tree, the columns it reads, and the names that matched none.
pub(crate) struct Parsed {
    pub(crate) root: Expr,
    pub(crate) fields: Vec<String>,
    /// Where the source names a column, in order, and the column's id.
    pub(crate) named: Vec<(Range<usize>, String)>,
    pub(crate) unknown: Vec<String>,
}

/// Parses a whole formula.
pub(crate) fn parse(
    tokens: &[Token],
    resolve: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, CompileError> {
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        resolve,
        fields: Vec::new(),
        named: Vec::new(),
        unknown: Vec::new(),
    };
    let root = parser.level(0)?;
    if let Some(token) = parser.peek() {
        return Err(unexpected(token));
    }
    let Parser { fields, named, unknown, .. } = parser;
    Ok(Parsed { root, fields, named, unknown })
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    resolve: &'a dyn Fn(&str) -> Option<String>,
    fields: Vec<String>,
    named: Vec<(Range<usize>, String)>,
    unknown: Vec<String>,
}

/// The operators of each level, loosest first.
const LEVELS: [&[(&str, Op)]; 4] = [
    &[("=", Op::Eq), ("!=", Op::Ne), ("<", Op::Lt), ("<=", Op::Le), (">", Op::Gt), (">=", Op::Ge)],
    &[("&", Op::Concat)],
    &[("+", Op::Add), ("-", Op::Sub)],
    &[("*", Op::Mul), ("/", Op::Div)],
];

impl Parser<'_> {
    fn level(&mut self, level: usize) -> Result<Expr, CompileError> {
        let Some(ops) = LEVELS.get(level) else { return self.unary() };
        let first = self.level(level + 1)?;
        let mut rest = Vec::new();
        while let Some(op) = self.operator(ops) {
            rest.push((op, self.level(level + 1)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Chain(Box::new(first), rest) })
    }

    fn operator(&mut self, ops: &[(&str, Op)]) -> Option<Op> {
        let Kind::Symbol(symbol) = self.peek()?.kind else { return None };
        let op = ops.iter().find(|(text, _)| *text == symbol)?.1;
        self.at += 1;
        Some(op)
    }

    fn unary(&mut self) -> Result<Expr, CompileError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(CompileError::TooDeep);
        }
        let expr = if self.take("-") {
            Expr::Neg(Box::new(self.unary()?))
        } else if self.take("+") {
            self.unary()?
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn primary(&mut self) -> Result<Expr, CompileError> {
        let token = self.peek().ok_or(CompileError::UnexpectedEnd)?.clone();
        self.at += 1;
        match token.kind {
            Kind::Num(number) => Ok(Expr::Num(number)),
            Kind::Text(text) => Ok(Expr::Text(text)),
            Kind::Ident(name) if self.take("(") => self.call(&name),
            Kind::Field(name) | Kind::Ident(name) => Ok(self.field(&name, token.at..token.end)),
            Kind::Symbol("(") => {
                let inner = self.level(0)?;
                self.expect(")")?;
                Ok(inner)
            }
            Kind::Symbol(_) => Err(unexpected(&token)),
        }
    }

    fn call(&mut self, name: &str) -> Result<Expr, CompileError> {
        let function =
            functions::find(name).ok_or_else(|| CompileError::UnknownFunction(name.to_owned()))?;
        let mut args = Vec::new();
        if !self.take(")") {
            loop {
                args.push(self.level(0)?);
                if self.take(")") {
                    break;
                }
                self.expect(",")?;
            }
        }
        if args.len() < function.min || args.len() > function.max {
            return Err(CompileError::WrongArguments(function.name));
        }
        Ok(Expr::Call(function, args))
    }

    fn field(&mut self, name: &str, place: Range<usize>) -> Expr {
        match (self.resolve)(name) {
            Some(id) => {
                self.named.push((place, id.clone()));
                if !self.fields.contains(&id) {
                    self.fields.push(id.clone());
                }
                Expr::Field(id)
            }
            None if name == "values" => Expr::Values,
            None => {
                if !self.unknown.iter().any(|known| known == name) {
                    self.unknown.push(name.to_owned());
                }
                Expr::Values
            }
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found =
            matches!(self.peek(), Some(Token { kind: Kind::Symbol(s), .. }) if *s == symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), CompileError> {
        if self.take(symbol) {
            return Ok(());
        }
        Err(self.peek().map_or(CompileError::UnexpectedEnd, unexpected))
    }
}

fn unexpected(token: &Token) -> CompileError {
    CompileError::Unexpected { token: token.kind.describe(), at: token.at }
}
