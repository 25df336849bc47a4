//! Dates. Parts are read in UTC unless `SET_TIMEZONE` says otherwise.

use std::cmp::Ordering;

use jiff::civil::{Date, Weekday};

use super::{ANY, Eval, Function, eager, lazy, number_or, text_at};
use crate::formula::ast::Expr;
use crate::formula::ast::ResultKind::{self, Number, Text};
use crate::formula::dates::{Unit, add, difference, period, zone_named};
use crate::formula::eval::{Env, EvalError};
use crate::formula::moment;
use crate::formula::value::{DateValue, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    eager("TODAY", 0, 0, ResultKind::Date, |_, env| {
        let today = DateValue::utc(env.now(), false).zoned().start_of_day();
        let at = today.map_err(|_| EvalError::Error)?.timestamp();
        Ok(Value::Date(DateValue::utc(at, false)))
    }),
    eager("NOW", 0, 0, ResultKind::Date, |_, env| Ok(Value::Date(DateValue::utc(env.now(), true)))),
    eager("CREATED_TIME", 0, 0, ResultKind::Date, |_, env| {
        Ok(Value::Date(DateValue::utc(env.created(), true)))
    }),
    lazy("LAST_MODIFIED_TIME", 0, ANY, ResultKind::Date, last_modified),
    eager("DATETIME_PARSE", 1, 3, ResultKind::Date, parse),
    eager("DATETIME_FORMAT", 1, 2, Text, |args, env| {
        let date = args[0].to_date()?;
        let pattern = if args.len() > 1 { text_at(args, 1) } else { "YYYY-MM-DDTHH:mm:ssZ".into() };
        env.budget().text(pattern.len() * 16)?;
        Ok(Value::Text(moment::format(&date.zoned(), &pattern)))
    }),
    eager("DATETIME_DIFF", 2, 3, Number, |args, _| {
        let unit = unit(args, 2, Unit::Second)?;
        Ok(Value::Num(difference(&args[0].to_date()?, &args[1].to_date()?, unit)))
    }),
    eager("DATEADD", 3, 3, ResultKind::Date, |args, _| {
        let unit = unit(args, 2, Unit::Day)?;
        add(&args[0].to_date()?, args[1].to_number()?, unit).map(Value::Date)
    }),
    eager("IS_BEFORE", 2, 2, Number, |args, _| compare(args, Ordering::Less)),
    eager("IS_AFTER", 2, 2, Number, |args, _| compare(args, Ordering::Greater)),
    eager("IS_SAME", 2, 3, Number, |args, _| {
        let unit = unit(args, 2, Unit::Millisecond)?;
        let (left, right) = (args[0].to_date()?, args[1].to_date()?);
        Ok(Value::Bool(period(&left, unit) == period(&right, unit)))
    }),
    eager("YEAR", 1, 1, Number, |args, _| part(args, |z| i32::from(z.year()))),
    eager("MONTH", 1, 1, Number, |args, _| part(args, |z| i32::from(z.month()))),
    eager("DAY", 1, 1, Number, |args, _| part(args, |z| i32::from(z.day()))),
    eager("HOUR", 1, 1, Number, |args, _| part(args, |z| i32::from(z.hour()))),
    eager("MINUTE", 1, 1, Number, |args, _| part(args, |z| i32::from(z.minute()))),
    eager("SECOND", 1, 1, Number, |args, _| part(args, |z| i32::from(z.second()))),
    eager("WEEKDAY", 1, 2, Number, |args, _| {
        let day = args[0].to_date()?.zoned().weekday().to_sunday_zero_offset();
        Ok(Value::Num(f64::from((day - week_start(args) + 7) % 7)))
    }),
    eager("WEEKNUM", 1, 2, Number, |args, _| {
        let zoned = args[0].to_date()?.zoned();
        let first = zoned.date().first_of_year().weekday().to_sunday_zero_offset();
        let offset = (first - week_start(args) + 7) % 7;
        Ok(Value::Num(f64::from((zoned.day_of_year() - 1 + i16::from(offset)) / 7 + 1)))
    }),
    eager("DATESTR", 1, 1, Text, |args, _| {
        Ok(Value::Text(moment::format(&args[0].to_date()?.zoned(), "YYYY-MM-DD")))
    }),
    eager("TIMESTR", 1, 1, Text, |args, _| {
        Ok(Value::Text(moment::format(&args[0].to_date()?.zoned(), "HH:mm:ss")))
    }),
    eager("SET_TIMEZONE", 2, 2, ResultKind::Date, |args, _| {
        let zone = zone_named(&text_at(args, 1)).ok_or(EvalError::Error)?;
        Ok(Value::Date(DateValue { zone, ..args[0].to_date()? }))
    }),
    eager("SET_LOCALE", 2, 2, ResultKind::Date, |args, _| args[0].to_date().map(Value::Date)),
    eager("FROMNOW", 1, 1, Text, distance),
    eager("TONOW", 1, 1, Text, distance),
    eager("WORKDAY", 2, 3, ResultKind::Date, workday),
    eager("WORKDAY_DIFF", 2, 3, Number, workday_diff),
];

fn unit(args: &[Value], at: usize, default: Unit) -> Result<Unit, EvalError> {
    args.get(at).map_or(Ok(default), |value| Unit::parse(&value.to_text()).ok_or(EvalError::Error))
}

fn part(args: &[Value], read: fn(&jiff::Zoned) -> i32) -> Eval {
    Ok(Value::Num(f64::from(read(&args[0].to_date()?.zoned()))))
}

fn compare(args: &[Value], wanted: Ordering) -> Eval {
    let order = args[0].to_date()?.at.cmp(&args[1].to_date()?.at);
    Ok(Value::Bool(order == wanted))
}

fn week_start(args: &[Value]) -> i8 {
    i8::from(text_at(args, 1).eq_ignore_ascii_case("monday"))
}

fn last_modified(args: &[Expr], env: &dyn Env) -> Eval {
    let fields: Vec<_> = args
        .iter()
        .filter_map(|arg| match arg {
            Expr::Field(id) => Some(id.as_str()),
            _ => None,
        })
        .collect();
    let at = env.modified(&fields);
    Ok(at.map_or(Value::Blank, |at| Value::Date(DateValue::utc(at, true))))
}

fn parse(args: &[Value], _: &dyn Env) -> Eval {
    if args.len() > 1
        && let Value::Text(text) = &args[0]
    {
        let parsed = moment::parse(text, &text_at(args, 1)).ok_or(EvalError::Error)?;
        return Ok(Value::Date(parsed));
    }
    args[0].to_date().map(|date| Value::Date(DateValue { has_time: true, ..date }))
}

/// How far a date is from now, in words and without a direction.
fn distance(args: &[Value], env: &dyn Env) -> Eval {
    let seconds = (args[0].to_date()?.at.as_second() - env.now().as_second()).abs();
    let steps = [
        (31_536_000, "year"),
        (2_592_000, "month"),
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let (size, name) =
        steps.into_iter().find(|(size, _)| seconds >= *size).unwrap_or((1, "second"));
    let count = seconds / size;
    let plural = if count == 1 { "" } else { "s" };
    Ok(Value::Text(format!("{count} {name}{plural}")))
}

/// Farthest that the working-day functions walk.
const MAX_WORKDAYS: f64 = 20_000.0;

fn holidays(args: &[Value]) -> Vec<Date> {
    text_at(args, 2).split(',').filter_map(|day| day.trim().parse().ok()).collect()
}

fn works(day: Date, holidays: &[Date]) -> bool {
    !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) && !holidays.contains(&day)
}

fn workday(args: &[Value], env: &dyn Env) -> Eval {
    let start = args[0].to_date()?;
    let count = number_or(args, 1, 0.0)?.trunc();
    if count.is_nan() || count.abs() > MAX_WORKDAYS {
        return Err(EvalError::Error);
    }
    let holidays = holidays(args);
    let (mut left, mut date) = (count.abs() as u32, start);
    while left > 0 {
        env.budget().spend(1 + holidays.len())?;
        date = add(&date, count.signum(), Unit::Day)?;
        left -= u32::from(works(date.zoned().date(), &holidays));
    }
    Ok(Value::Date(date))
}

fn workday_diff(args: &[Value], env: &dyn Env) -> Eval {
    let (start, end) = (args[0].to_date()?.zoned().date(), args[1].to_date()?.zoned().date());
    let sign = if end < start { -1.0 } else { 1.0 };
    let (mut day, last) = if end < start { (end, start) } else { (start, end) };
    let holidays = holidays(args);
    let mut total = 0.0;
    while day <= last {
        env.budget().spend(1 + holidays.len())?;
        total += f64::from(u8::from(works(day, &holidays)));
        day = day.tomorrow().map_err(|_| EvalError::Error)?;
    }
    Ok(Value::Num(total * sign))
}
