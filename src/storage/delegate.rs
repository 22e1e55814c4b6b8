//! Forwarding of [`Storage`](super::Storage) to a field.

/// Implements methods of [`Storage`](super::Storage) by calling them on a field: all of them, or
/// those that are named.
macro_rules! delegate_storage {
    ($field:tt) => {
        $crate::storage::delegate_storage!(
            $field: get, writers, list, due, read, commit, reserve_ids, maintain, needs_maintenance, usage, blocking,
            shared, backup
        );
    };
    ($field:tt: $($method:ident),+ $(,)?) => {
        $($crate::storage::delegate_storage!(@$method $field);)+
    };
    (@get $field:tt) => {
        fn get(
            &self,
            name: &$crate::protocol::StreamName,
        ) -> Result<Option<$crate::storage::Stored>, $crate::storage::StorageError> {
            self.$field.get(name)
        }
    };
    (@writers $field:tt) => {
        fn writers(
            &self,
            id: $crate::storage::StreamId,
        ) -> Result<Vec<(String, $crate::storage::WriterState)>, $crate::storage::StorageError> {
            self.$field.writers(id)
        }
    };
    (@list $field:tt) => {
        fn list(
            &self,
            prefix: &str,
            after: Option<&str>,
            limit: usize,
        ) -> Result<Vec<($crate::protocol::StreamName, $crate::storage::Stored)>, $crate::storage::StorageError> {
            self.$field.list(prefix, after, limit)
        }
    };
    (@due $field:tt) => {
        fn due(
            &self,
            now: $crate::protocol::Millis,
            limit: usize,
        ) -> Result<Vec<$crate::protocol::StreamName>, $crate::storage::StorageError> {
            self.$field.due(now, limit)
        }
    };
    (@read $field:tt) => {
        fn read(
            &self,
            id: $crate::storage::StreamId,
            range: ::std::ops::Range<$crate::storage::Position>,
        ) -> Result<::bytes::Bytes, $crate::storage::StorageError> {
            self.$field.read(id, range)
        }
    };
    (@commit $field:tt) => {
        fn commit(
            &self,
            groups: &[$crate::storage::Group],
        ) -> Result<$crate::storage::Verdicts, $crate::storage::CommitError> {
            self.$field.commit(groups)
        }
    };
    (@reserve_ids $field:tt) => {
        fn reserve_ids(
            &self,
            count: u64,
            lowest: $crate::storage::StreamId,
        ) -> Result<$crate::storage::StreamId, $crate::storage::CommitError> {
            self.$field.reserve_ids(count, lowest)
        }
    };
    (@maintain $field:tt) => {
        fn maintain(&self) -> Result<bool, $crate::storage::CommitError> {
            self.$field.maintain()
        }
    };
    (@needs_maintenance $field:tt) => {
        fn needs_maintenance(&self) -> bool {
            self.$field.needs_maintenance()
        }
    };
    (@usage $field:tt) => {
        fn usage(&self) -> $crate::storage::Usage {
            self.$field.usage()
        }
    };
    (@shared $field:tt) => {
        fn shared(&self) -> Option<&dyn $crate::storage::SharedStore> {
            self.$field.shared()
        }
    };
    (@blocking $field:tt) => {
        fn blocking(&self) -> bool {
            self.$field.blocking()
        }
    };
    (@backup $field:tt) => {
        fn backup(
            &self,
            target: &::std::path::Path,
            progress: &mut $crate::storage::CopyProgress<'_>,
        ) -> Result<$crate::storage::StoreReport, $crate::storage::StorageError> {
            self.$field.backup(target, progress)
        }
    };
}
pub(crate) use delegate_storage;
