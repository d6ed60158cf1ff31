//! The whole command line with one kind of node more: `near` lets rows pass that lie near a point.
//!
//! ```text
//! cd server/examples/own_kind
//! cargo run --example own_kind -- check near.yaml
//! cargo run --example own_kind -- run near.yaml
//! cargo run --example own_kind -- components near
//! ```

use millstream::arrow::array::{AsArray, BooleanArray};
use millstream::arrow::compute::cast;
use millstream::arrow::datatypes::{DataType, Float64Type};
use millstream::operator::{Emit, Reads, Stage};
use millstream::{Batch, Place, Problem, Result};
use millstream_connectors::kind::{Build, Kind, entry};
use millstream_connectors::registry::Registry;
use millstream_pipelines::catalogue::{Inputs, KindInfo, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

/// Lets rows pass that lie near a point. The input has its place in the columns `lat` and `lon`, in degrees;
/// a row without a place does not pass.
// The comment above is what `components near` prints; those on the fields document the options.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NearConfig {
    /// Latitude of the point, in degrees north.
    lat: f64,
    /// Longitude of the point, in degrees east.
    lon: f64,
    /// The greatest distance, in kilometres.
    within: f64,
}

/// `near`.
struct Near;

impl Kind for Near {
    fn info(&self) -> KindInfo {
        entry::<NearConfig>("near", Role::Transform, Inputs::One, include_str!("near.yaml"))
    }

    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: NearConfig = build.config()?;
        if config.within <= 0.0 {
            let place = Place::Node { node: String::new(), field: "within".into() };
            let problem = Problem::error("NEAR-WITHIN", "nothing is that near").at(place);
            return build.refuse(problem.found(config.within.to_string()).expected("more than 0 kilometres"));
        }
        let schema = Arc::clone(&build.input().schema);
        for name in ["lat", "lon"] {
            if !schema.field_with_name(name).is_ok_and(|f| f.data_type().is_numeric()) {
                let problem = Problem::error("NEAR-COLUMN", format!("the input has no number `{name}`"));
                return build.refuse(problem.found(millstream::plan::describe(&schema)));
            }
        }
        // The rows pass as they are; of the columns nobody else wants, these two are needed all the same.
        let reads = Reads::Extra(vec!["lat".into(), "lon".into()]);
        build.stage(schema, reads, Arc::new(move |_| Ok(Box::new(NearStage(config.clone())))));
        Ok(())
    }
}

/// The stage of one worker.
struct NearStage(NearConfig);

impl Stage for NearStage {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let column = |name: &str| {
            let column =
                batch.column(name).ok_or_else(|| Problem::internal("a column that was asked for is missing"))?;
            cast(column, &DataType::Float64).map_err(|e| Problem::internal(e.to_string()))
        };
        let (lat, lon) = (column("lat")?, column("lon")?);
        let places = lat.as_primitive::<Float64Type>().iter().zip(lon.as_primitive::<Float64Type>());
        let near: BooleanArray = places
            .map(|(lat, lon)| Some(kilometres((self.0.lat, self.0.lon), (lat?, lon?)) <= self.0.within))
            .collect();
        let kept = batch.filter(&near);
        // Every row is accounted for: sent on, refused, or counted as left out on purpose.
        out.filtered(batch.len() - kept.len());
        out.send(kept);
        Ok(())
    }
}

/// The distance of two places on the globe: the haversine formula.
fn kilometres((lat, lon): (f64, f64), (to_lat, to_lon): (f64, f64)) -> f64 {
    let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
    let h = half(to_lat - lat) + lat.to_radians().cos() * to_lat.to_radians().cos() * half(to_lon - lon);
    2.0 * 6_371.0 * h.sqrt().asin()
}

/// The program, with these arguments.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    millstream_server::cli(Registry::builtin().with(Near), arguments)
}

fn main() -> ExitCode {
    // `millstream_server::cli_main(registry)` is the same with the arguments of the process.
    run(std::env::args_os())
}
