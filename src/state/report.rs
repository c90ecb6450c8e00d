//! What statistics show; being written.
