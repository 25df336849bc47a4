//! `context/log`.

use airhost_telemetry::log::Level;

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
            WitLevel::Trace => Level::Trace,
            WitLevel::Debug => Level::Debug,
            WitLevel::Info => Level::Info,
            WitLevel::Warn => Level::Warn,
            WitLevel::Error => Level::Error,
        };
        log::write(&self.service, &self.call.line_context(), level, &message, &fields);
        Ok(())
    }

    fn enabled(&mut self) -> wasmtime::Result<WitLevel> {
        let service = &self.service;
        Ok(match service.telemetry.logs.level(service.name.as_str()) {
            Level::Trace => WitLevel::Trace,
            Level::Debug => WitLevel::Debug,
            Level::Info => WitLevel::Info,
            Level::Warn => WitLevel::Warn,
            Level::Error => WitLevel::Error,
        })
    }
}
