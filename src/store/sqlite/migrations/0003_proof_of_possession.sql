CREATE TABLE `client_hour` (
	`client_id` text PRIMARY KEY NOT NULL,
	`hour` integer NOT NULL,
	`issued` integer NOT NULL
) STRICT, WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `replay` (
	`key` blob PRIMARY KEY NOT NULL,
	`expires_at` integer NOT NULL
) STRICT, WITHOUT ROWID;
--> statement-breakpoint
CREATE INDEX `replay_expiry` ON `replay` (`expires_at`);--> statement-breakpoint
ALTER TABLE `client` ADD `jwks` text;--> statement-breakpoint
ALTER TABLE `client` ADD `jwks_uri` text;--> statement-breakpoint
ALTER TABLE `client` ADD `assertion_alg` text;--> statement-breakpoint
ALTER TABLE `client` ADD `tls_subject_kind` text;--> statement-breakpoint
ALTER TABLE `client` ADD `tls_subject` text;--> statement-breakpoint
ALTER TABLE `client` ADD `certificate_bound` integer DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE `client` ADD `dpop_bound` integer DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE `client` ADD `tokens_per_hour` integer;--> statement-breakpoint
ALTER TABLE `issuance` ADD `confirmation` text;--> statement-breakpoint
ALTER TABLE `refresh_family` ADD `confirmation` text;