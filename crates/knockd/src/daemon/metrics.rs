//! The metrics, from what the daemon answers anyway.

use knock_core::time::Timestamp;

use super::Daemon;
use crate::metrics;

impl Daemon<'_> {
    /// All metrics in words.
    pub(super) fn metrics(&mut self, up: bool, now: Timestamp) -> String {
        let status = self.status(now);
        metrics::text(&status, &self.doors(false), &self.audit.log.counts, up)
    }

    /// Writes the metrics' file when it is due.
    pub(super) fn handle_metrics(&mut self, now: Timestamp) {
        if self.audit.metrics_file.is_due(now) {
            self.write_metrics(now, true);
        }
    }

    /// Writes the metrics' file, where there is one.
    pub(super) fn write_metrics(&mut self, now: Timestamp, up: bool) {
        if self.audit.metrics_file.next_deadline().is_none() {
            return;
        }
        let text = self.metrics(up, now);
        if let Some(news) = self.audit.metrics_file.write(&text, now) {
            self.audit.complain(&news);
        }
    }
}
