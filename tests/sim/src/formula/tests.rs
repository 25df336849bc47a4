//! One table: a formula, and the text or error it gives on the record below.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Budget, CompileError, DateValue, Env, EvalError, Formula, Value, parse_date_text};

struct Fixture {
    cells: HashMap<&'static str, Value>,
    budget: Budget,
}

impl Env for Fixture {
    fn field(&self, id: &str) -> Result<Value, EvalError> {
        self.cells.get(id).cloned().ok_or(EvalError::Error)
    }

    fn record_id(&self) -> &str {
        "rec00000000000001"
    }

    fn created(&self) -> Timestamp {
        date("2024-01-01T00:00:00Z").at
    }

    fn modified(&self, _: &[&str]) -> Option<Timestamp> {
        Some(date("2024-01-05T00:00:00Z").at)
    }

    fn now(&self) -> Timestamp {
        date("2024-03-15T10:30:00Z").at
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }
}

fn date(text: &str) -> DateValue {
    parse_date_text(text).unwrap()
}

fn fixture() -> Fixture {
    let tags = ["red", "green", "red"].map(Value::text);
    let cells = HashMap::from([
        ("Name", Value::text("O'Neil")),
        ("text", Value::text("x")),
        ("Empty", Value::Blank),
        ("A", Value::Num(5.0)),
        ("Done", Value::Bool(true)),
        ("Open", Value::Bool(false)),
        ("D", Value::Date(date("2024-01-02T03:04:05.000Z"))),
        ("Day", Value::Date(date("2024-01-31"))),
        ("Tags", Value::List(tags.to_vec())),
        ("Prices", Value::List(vec![Value::Num(1.5), Value::Blank, Value::Num(2.5)])),
        ("odd } name", Value::text("braces")),
        ("Prénom", Value::text("Zoë")),
    ]);
    Fixture { cells, budget: Budget::default() }
}

fn run(source: &str) -> Result<Result<Value, EvalError>, CompileError> {
    let fixture = fixture();
    let known = |name: &str| fixture.cells.contains_key(name).then(|| name.to_owned());
    Formula::compile(source, &known).map(|formula| formula.evaluate(&fixture))
}

fn check(input: &str, expect: &str) {
    let text = match run(input) {
        Ok(Ok(value)) => value.to_text(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => format!("! {error}"),
    };
    assert_eq!(text, expect, "{input}");
}

fn check_all(rows: &[(&str, &str)]) {
    for (input, expect) in rows {
        check(input, expect);
    }
}

#[test]
fn clients_formulas() {
    check_all(&[
        (r"{Name}='O\'Neil'", "1"),
        ("AND({A}>3, {Done}=TRUE())", "1"),
        ("OR({A}>30, {Open}=TRUE())", "0"),
        ("{A}>3", "1"),
        ("{Done}=TRUE()", "1"),
        ("{D}=DATETIME_PARSE('2024-01-02T03:04:05.000')", "1"),
        ("{D}=DATETIME_PARSE('2024-01-02T03:04:05.001')", "0"),
        ("RECORD_ID()='rec00000000000001'", "1"),
        ("FIND('a', {Name})", "0"),
        ("text != 'y'", "1"),
        (r"{odd \} name}", "braces"),
        ("NOT(XOR({Done}, {Open}))", "0"),
        ("{Prénom} & Prénom", "ZoëZoë"),
    ]);
    let long = format!("{{text}} != '{}'", "y".repeat(17_000));
    check(&long, "1");
}

#[test]
fn operators() {
    check_all(&[
        ("1+2*3", "7"),
        ("(1+2)*3", "9"),
        ("2-3-4", "-5"),
        ("8/4/2", "1"),
        ("-2*-3", "6"),
        ("--2", "2"),
        ("+3", "3"),
        ("1+1&2+2", "24"),
        ("'a'&1.50&TRUE()", "a1.51"),
        ("1+1=2", "1"),
        ("'a'<'b'", "1"),
        ("'B'='b'", "0"),
        ("2<=2", "1"),
        ("3!=3", "0"),
        ("1e3+.5", "1000.5"),
        ("1/0", "Infinity"),
        ("0/0", "NaN"),
        ("'a'+'b'", "ab"),
        ("'a'+1", "#ERROR!"),
        ("'2'+1", "3"),
        ("{Empty}+1", "1"),
        (r#""tab\tquote\"end""#, "tab\tquote\"end"),
        (r"'\d'", r"\d"),
    ]);
}

#[test]
fn blanks_and_lists() {
    check_all(&[
        ("{Empty}=BLANK()", "1"),
        ("{Empty}=''", "1"),
        ("{Empty}=0", "1"),
        ("{Empty}=FALSE()", "1"),
        ("{Open}=BLANK()", "1"),
        ("{A}=BLANK()", "0"),
        ("{Name}!=BLANK()", "1"),
        ("{Empty}", ""),
        ("{Tags}", "red, green, red"),
        ("{Tags}='red, green, red'", "1"),
        ("FIND('green', {Tags})", "6"),
        ("ARRAYJOIN({Tags}, '|')", "red|green|red"),
        ("ARRAYJOIN(ARRAYUNIQUE({Tags}))", "red, green"),
        ("COUNTALL(ARRAYCOMPACT({Prices}))", "2"),
        ("ARRAYFLATTEN({Tags})", "red, green, red"),
        ("ARRAYSLICE({Tags}, -2)", "green, red"),
        ("SUM({Prices})", "4"),
        ("COUNT({Prices})", "2"),
        ("COUNTALL({Prices})", "3"),
        ("COUNTA({Tags}, {Empty}, 1)", "4"),
    ]);
}

#[test]
fn logic() {
    check_all(&[
        ("IF({A}>3, 'big', 'small')", "big"),
        ("IF({A}>30, 'big')", ""),
        ("IF({Empty}, ERROR(), 'safe')", "safe"),
        ("SWITCH({A}, 4, 'four', 5, 'five', 'other')", "five"),
        ("SWITCH({A}, 4, 'four', 'other')", "other"),
        ("SWITCH({A}, 4, 'four', 6, 'six')", ""),
        ("ISERROR(ERROR())", "1"),
        ("ISERROR(1/0)", "1"),
        ("ISERROR(1)", "0"),
        ("ERROR('why')", "#ERROR!"),
        ("XOR(TRUE(), TRUE(), TRUE())", "1"),
        ("if(true(), 'any case')", "any case"),
    ]);
}

#[test]
fn numbers() {
    check_all(&[
        ("ABS(-2)", "2"),
        ("ROUND(2.5)", "3"),
        ("ROUND(-2.5, 0)", "-3"),
        ("ROUND(1.005, 2)", "1.01"),
        ("ROUND(1234, -2)", "1200"),
        ("ROUNDUP(1.21, 1)", "1.3"),
        ("ROUNDDOWN(-1.29, 1)", "-1.2"),
        ("INT(-1.5)", "-2"),
        ("MOD(-3, 5)", "2"),
        ("MOD(1, 0)", "#ERROR!"),
        ("POWER(2, 10)", "1024"),
        ("SQRT(9)", "3"),
        ("MIN(3, {A}, {Prices})", "1.5"),
        ("MAX(3, {A})", "5"),
        ("MAX({D}, {Day})", "2024-01-31"),
        ("AVERAGE(1, 2, 3)", "2"),
        ("SUM(1, 'x', {Empty})", "1"),
        ("CEILING(1.1)", "2"),
        ("CEILING(7, 5)", "10"),
        ("FLOOR(7, 5)", "5"),
        ("VALUE('$1,234.50')", "1234.5"),
        ("VALUE('50%')", "0.5"),
        ("VALUE('x')", "#ERROR!"),
        ("EVEN(3)", "4"),
        ("EVEN(-1.5)", "-2"),
        ("ODD(2)", "3"),
        ("EXP(0)", "1"),
        ("LOG(1000)", "3"),
        ("LOG(8, 2)", "3"),
    ]);
}

#[test]
fn texts() {
    check_all(&[
        ("LEN('Zoë')", "3"),
        ("LOWER('AbC')&UPPER('d')", "abcD"),
        ("TRIM('  a b ')", "a b"),
        ("LEFT('Zoë!', 3)", "Zoë"),
        ("RIGHT('Zoë', 1)", "ë"),
        ("MID('abcdef', 2, 3)", "bcd"),
        ("FIND('b', 'abcb')", "2"),
        ("FIND('b', 'abcb', 3)", "4"),
        ("FIND('B', 'abc')", "0"),
        ("SEARCH('B', 'abc')", "2"),
        ("SEARCH('z', 'abc')", ""),
        ("SUBSTITUTE('a-b-c', '-', '+')", "a+b+c"),
        ("SUBSTITUTE('a-b-c', '-', '+', 2)", "a-b+c"),
        ("REPLACE('abcdef', 2, 3, 'X')", "aXef"),
        ("CONCATENATE('a', 1, {Tags})", "a1redgreenred"),
        ("REPT('ab', 3)", "ababab"),
        ("T('x')&T(1)", "x"),
        ("ENCODE_URL_COMPONENT('a b/é')", "a%20b%2F%C3%A9"),
        (r"REGEX_MATCH('a1', '\\d')", "1"),
        (r"REGEX_EXTRACT('id-42', '\d+')", "42"),
        ("REGEX_EXTRACT('x', '[0-9]')", "#ERROR!"),
        ("REGEX_REPLACE('a1b2', '[0-9]', '#')", "a#b#"),
        ("REGEX_MATCH('a', '(')", "#ERROR!"),
    ]);
}

#[test]
fn dates() {
    check_all(&[
        ("TODAY()", "2024-03-15"),
        ("NOW()", "2024-03-15T10:30:00.000Z"),
        ("YEAR({D})&'-'&MONTH({D})&'-'&DAY({D})", "2024-1-2"),
        ("HOUR({D})*3600+MINUTE({D})*60+SECOND({D})", "11045"),
        ("WEEKDAY({D})", "2"),
        ("WEEKDAY({D}, 'Monday')", "1"),
        ("WEEKNUM({D})", "1"),
        ("DATESTR({D})", "2024-01-02"),
        ("TIMESTR({D})", "03:04:05"),
        ("DATEADD({Day}, 1, 'months')", "2024-02-29"),
        ("DATEADD({D}, -1, 'day')", "2024-01-01T03:04:05.000Z"),
        ("DATEADD({Day}, 1, 'fortnight')", "#ERROR!"),
        ("DATETIME_DIFF({Day}, '2024-01-01', 'days')", "30"),
        ("DATETIME_DIFF('2024-01-01', {Day}, 'months')", "0"),
        ("DATETIME_DIFF('2025-03-01', '2024-01-15', 'M')", "13"),
        ("DATETIME_DIFF('2024-01-01', '2024-01-02')", "-86400"),
        ("IS_BEFORE({D}, {Day})", "1"),
        ("IS_AFTER({D}, {Day})", "0"),
        ("IS_SAME({D}, {Day}, 'month')", "1"),
        ("IS_SAME({D}, {Day})", "0"),
        (
            "DATETIME_FORMAT({D}, 'dddd, MMMM Do YYYY, h:mm:ss a')",
            "Tuesday, January 2nd 2024, 3:04:05 am",
        ),
        ("DATETIME_FORMAT({D}, '[Q]Q DDDD ZZ')", "Q1 002 +0000"),
        (
            "DATETIME_FORMAT(SET_TIMEZONE({D}, 'America/New_York'), 'YYYY-MM-DD HH:mm Z')",
            "2024-01-01 22:04 -05:00",
        ),
        ("SET_TIMEZONE({D}, 'Mars/Base')", "#ERROR!"),
        ("DATETIME_PARSE('4 Mar 2017 23:00', 'D MMM YYYY HH:mm')", "2017-03-04T23:00:00.000Z"),
        ("DATETIME_PARSE('nonsense')", "#ERROR!"),
        ("CREATED_TIME()", "2024-01-01T00:00:00.000Z"),
        ("LAST_MODIFIED_TIME({A})", "2024-01-05T00:00:00.000Z"),
        ("WORKDAY('2024-01-05', 1)", "2024-01-08"),
        ("WORKDAY_DIFF('2024-01-05', '2024-01-09')", "3"),
        ("FROMNOW('2024-03-12')", "3 days"),
        ("{D}>'2024-01-01'", "1"),
        ("{Empty}<TODAY()", "0"),
    ]);
}

#[test]
fn errors() {
    check_all(&[
        ("", "! Unexpected end of formula"),
        ("1+", "! Unexpected end of formula"),
        ("{Nope}=1", "! Unknown field names: Nope"),
        ("nope=other", "! Unknown field names: nope, other"),
        ("NOPE(1)", "! Unknown function: NOPE"),
        ("IF(1)", "! Wrong number of arguments for IF"),
        ("'open", "! Unterminated text at position 0"),
        ("{open", "! Unterminated field name at position 0"),
        ("1 2", "! Unexpected 2 at position 2"),
        ("a ; b", "! Unexpected ; at position 2"),
        ("(1", "! Unexpected end of formula"),
        ("AND(1,)", "! Unexpected ) at position 6"),
    ]);
}

#[test]
fn bounds() {
    check(&"(".repeat(50_000), "! The formula is nested too deeply");
    check(&"-".repeat(50_000), "! The formula is nested too deeply");
    check(&format!("{}1{}", "ABS(".repeat(99), ")".repeat(99)), "1");
    check(&format!("1{}", "+1".repeat(20_000)), "20001");
    check(&format!("{}1{}", "IF(1+1,".repeat(99), ")".repeat(99)), "1");
    check(&format!("{}1{}", "(1+2*(".repeat(49), "))".repeat(49)), "1125899906842623");
    check(&"x".repeat(200_000), "! The formula is too long");
    check("REPT('x', 1e12)", "#ERROR!");
    check("LEN(REPT('x', 1e6))", "1000000");
    check("SUBSTITUTE(REPT('x', 1e5), 'x', REPT('y', 1e5))", "#ERROR!");
    check("DATEADD({D}, 1e300, 'years')", "#ERROR!");
    check("WORKDAY({D}, 1e9)", "#ERROR!");
    check("MID('abc', -1e300, 1e300)", "abc");
}

/// A generator good enough to mix tokens; the seed makes a failure repeatable.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn no_input_panics() {
    let pieces = [
        "(",
        ")",
        ",",
        "+",
        "-",
        "*",
        "/",
        "&",
        "=",
        "!=",
        "<",
        ">=",
        "'",
        "\"",
        "{",
        "}",
        "\\",
        "'a'",
        "{A}",
        "{D}",
        "{Tags}",
        "{Empty}",
        "1",
        "1e308",
        "-1",
        ".",
        "0.5",
        "é",
        "日本",
        " ",
        "IF(",
        "AND(",
        "ROUND(",
        "MID(",
        "LEFT(",
        "REPT(",
        "DATEADD(",
        "DATETIME_FORMAT(",
        "DATETIME_PARSE(",
        "WORKDAY(",
        "REGEX_MATCH(",
        "SUBSTITUTE(",
        "FIND(",
        "WEEKNUM(",
        "'days'",
        "'YYYY-MM-DD'",
        "NOW()",
        "ARRAYSLICE(",
        "MOD(",
        "EVEN(",
        "LOG(",
        "\u{0}",
        "😀",
    ];
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for _ in 0..20_000 {
        let count = random.below(12) + 1;
        let source: String = (0..count).map(|_| pieces[random.below(pieces.len())]).collect();
        if let Ok(Ok(value)) = run(&source) {
            let _ = (value.to_text(), value.truthy());
        }
    }
}

/// Every function with odd arguments of the right number.
#[test]
fn no_function_panics() {
    let args = [
        "-1e300", "0", "0/0", "1/0", "'é😀'", "''", "{Tags}", "{Empty}", "{D}", "{Day}", "'years'",
        "'['", "-1", "{Prices}", "TRUE()",
    ];
    let names = [
        "IF",
        "SWITCH",
        "ABS",
        "ROUND",
        "ROUNDUP",
        "ROUNDDOWN",
        "INT",
        "EVEN",
        "ODD",
        "SQRT",
        "EXP",
        "LOG",
        "POWER",
        "MOD",
        "CEILING",
        "FLOOR",
        "VALUE",
        "SUM",
        "AVERAGE",
        "MIN",
        "MAX",
        "LEN",
        "LEFT",
        "RIGHT",
        "MID",
        "FIND",
        "SEARCH",
        "SUBSTITUTE",
        "REPLACE",
        "CONCATENATE",
        "REPT",
        "REGEX_MATCH",
        "REGEX_EXTRACT",
        "REGEX_REPLACE",
        "DATETIME_PARSE",
        "DATETIME_FORMAT",
        "DATETIME_DIFF",
        "DATEADD",
        "IS_SAME",
        "YEAR",
        "WEEKDAY",
        "WEEKNUM",
        "SET_TIMEZONE",
        "FROMNOW",
        "WORKDAY",
        "WORKDAY_DIFF",
        "ARRAYJOIN",
        "ARRAYUNIQUE",
        "ARRAYSLICE",
        "TIMESTR",
    ];
    let mut random = Random(42);
    for name in names {
        for _ in 0..300 {
            let count = random.below(4) + 1;
            let list: Vec<_> = (0..count).map(|_| args[random.below(args.len())]).collect();
            if let Ok(Ok(value)) = run(&format!("{name}({})", list.join(","))) {
                let _ = value.to_text();
            }
        }
    }
}
