//! The command line of the simulation.

use crate::place::Engine;

/// One week on Postgres for so many on SQLite: it makes databases, and waits for their server.
const SHARE_OF_POSTGRES: u64 = 20;

pub struct Options {
    pub engines: Vec<Engine>,
    from: u64,
    seeds: u64,
    /// One seed was named.
    single: bool,
    /// It ends after so many failures.
    pub failures: usize,
    /// Lines of the story of a failed week.
    pub lines: usize,
    lanes: usize,
}

impl Options {
    pub fn read(mut given: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            engines: Vec::new(),
            from: 1,
            seeds: 200,
            single: false,
            failures: 5,
            lines: 80,
            lanes: std::thread::available_parallelism().map_or(1, usize::from),
        };
        while let Some(flag) = given.next() {
            let value = given.next().ok_or_else(|| format!("{flag} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{flag} takes a number, not \"{value}\""));
            let count = || number().map(|n| usize::try_from(n).unwrap_or(usize::MAX).max(1));
            match flag.as_str() {
                "--seed" => (options.from, options.seeds, options.single) = (number()?, 1, true),
                "--seeds" => options.seeds = number()?,
                "--from" => options.from = number()?,
                "--failures" => options.failures = count()?,
                "--lines" => options.lines = count()?,
                "--lanes" => options.lanes = count()?,
                "--engine" => options.engines.push(Engine::named(&value)?),
                _ => {
                    return Err(format!(
                        "there is no flag {flag}; the flags are --seed, --seeds, --from, --engine, --failures, --lines and --lanes"
                    ));
                }
            }
        }
        if options.engines.is_empty() {
            options.engines.push(Engine::Sqlite);
            if std::env::var_os("CHANCERY_TEST_POSTGRES_URL").is_some() {
                options.engines.push(Engine::Postgres);
            }
        }
        Ok(options)
    }

    /// The first seed, and the one after the last.
    pub fn range(&self, engine: Engine) -> (u64, u64) {
        let both = self.engines.len() > 1;
        let share = if engine == Engine::Postgres && both { SHARE_OF_POSTGRES } else { 1 };
        (self.from, self.from + self.seeds.div_ceil(share))
    }

    /// Weeks at once. On Postgres one: a database is copied only while nobody copies it.
    pub fn lanes(&self, engine: Engine) -> usize {
        if engine == Engine::Postgres || self.single { 1 } else { self.lanes }
    }

    pub fn command(&self, engine: Engine, seed: u64) -> String {
        let planted = std::env::var("CHANCERY_PLANTED_FAULT");
        let planted = planted.map_or(String::new(), |fault| format!("CHANCERY_PLANTED_FAULT={fault} "));
        let features = if cfg!(feature = "planted-faults") { " --features planted-faults" } else { "" };
        let profile = if cfg!(debug_assertions) { "" } else { " --release" };
        format!(
            "{planted}cargo run{profile}{features} --example simulation -- --engine {} --seed {seed}",
            engine.name()
        )
    }
}
