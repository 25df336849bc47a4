//! `context/log`.

use tracing::{Level, level_filters::LevelFilter};

use crate::{
    bindings::imports::pyairtable::context::log::{self as wit, Level as WitLevel},
    log,
    state::State,
};

impl wit::Host for State {
    fn write(
        &mut self,
        level: WitLevel,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            WitLevel::Trace => Level::TRACE,
            WitLevel::Debug => Level::DEBUG,
            WitLevel::Info => Level::INFO,
            WitLevel::Warn => Level::WARN,
            WitLevel::Error => Level::ERROR,
        };
        if level <= LevelFilter::current() {
            let context = &self.call.context;
            log::write(
                &self.service,
                &context.correlation,
                Some(context),
                level,
                "log",
                &message,
                &fields,
            );
        }
        Ok(())
    }

    fn enabled(&mut self) -> wasmtime::Result<WitLevel> {
        let current = LevelFilter::current();
        Ok(if current >= Level::TRACE {
            WitLevel::Trace
        } else if current >= Level::DEBUG {
            WitLevel::Debug
        } else if current >= Level::INFO {
            WitLevel::Info
        } else if current >= Level::WARN {
            WitLevel::Warn
        } else {
            WitLevel::Error
        })
    }
}
