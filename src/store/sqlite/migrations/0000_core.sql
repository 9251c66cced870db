CREATE TABLE `audit_event` (
	`id` text PRIMARY KEY NOT NULL,
	`type` text NOT NULL,
	`client_id` text,
	`request_id` text,
	`detail` text NOT NULL
) STRICT, WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `client` (
	`client_id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`status` text NOT NULL,
	`grant_types` text NOT NULL,
	`auth_methods` text NOT NULL,
	`scopes` text NOT NULL,
	`access_token_ttl_seconds` integer,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	`disabled_at` integer,
	CONSTRAINT "client_status" CHECK("client"."status" IN ('active', 'disabled', 'deleted'))
) STRICT, WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `client_audience` (
	`client_id` text NOT NULL,
	`position` integer NOT NULL,
	`uri` text NOT NULL,
	PRIMARY KEY(`client_id`, `position`),
	FOREIGN KEY (`client_id`) REFERENCES `client`(`client_id`) ON UPDATE no action ON DELETE restrict,
	FOREIGN KEY (`uri`) REFERENCES `resource`(`uri`) ON UPDATE no action ON DELETE restrict
) STRICT, WITHOUT ROWID;
--> statement-breakpoint
CREATE INDEX `client_audience_uri` ON `client_audience` (`uri`);--> statement-breakpoint
CREATE TABLE `client_secret` (
	`secret_id` text PRIMARY KEY NOT NULL,
	`client_id` text NOT NULL,
	`sha256` blob,
	`argon2id` text,
	`created_at` integer NOT NULL,
	`expires_at` integer,
	`last_used_at` integer,
	FOREIGN KEY (`client_id`) REFERENCES `client`(`client_id`) ON UPDATE no action ON DELETE restrict,
	CONSTRAINT "client_secret_kind" CHECK(("client_secret"."sha256" IS NULL) <> ("client_secret"."argon2id" IS NULL))
) STRICT, WITHOUT ROWID;
--> statement-breakpoint
CREATE INDEX `client_secret_client` ON `client_secret` (`client_id`);--> statement-breakpoint
CREATE INDEX `client_secret_imported` ON `client_secret` (`secret_id`) WHERE "client_secret"."argon2id" IS NOT NULL;--> statement-breakpoint
CREATE TABLE `installation` (
	`id` integer PRIMARY KEY NOT NULL,
	`store_id` text NOT NULL,
	`issuer` text,
	`created_at` integer NOT NULL,
	CONSTRAINT "installation_single" CHECK("installation"."id" = 1)
) STRICT;
--> statement-breakpoint
CREATE TABLE `issuance` (
	`jti` text PRIMARY KEY NOT NULL,
	`client_id` text NOT NULL,
	`subject` text,
	`grant_type` text NOT NULL,
	`secret_id` text NOT NULL,
	`audience` text NOT NULL,
	`scope` text,
	`kid` text NOT NULL,
	`expires_at` integer NOT NULL,
	`request_id` text NOT NULL,
	`address` text NOT NULL
) STRICT, WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `resource` (
	`uri` text PRIMARY KEY NOT NULL,
	`name` text,
	`scopes` text NOT NULL,
	`alg` text,
	`access_token_ttl_seconds` integer,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL
) STRICT, WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `root_key` (
	`version` integer PRIMARY KEY NOT NULL,
	`wrapped` blob NOT NULL,
	`created_at` integer NOT NULL
) STRICT;
--> statement-breakpoint
CREATE TABLE `sequence` (
	`name` text PRIMARY KEY NOT NULL,
	`value` integer NOT NULL
) STRICT, WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `signing_key` (
	`kid` text PRIMARY KEY NOT NULL,
	`alg` text NOT NULL,
	`state` text NOT NULL,
	`public_jwk` text NOT NULL,
	`encrypted_private_key` blob NOT NULL,
	`root_version` integer NOT NULL,
	`created_at` integer NOT NULL,
	`published_at` integer NOT NULL,
	`activated_at` integer,
	`retiring_at` integer,
	`retired_at` integer,
	`compromised_at` integer,
	FOREIGN KEY (`root_version`) REFERENCES `root_key`(`version`) ON UPDATE no action ON DELETE restrict,
	CONSTRAINT "signing_key_state" CHECK("signing_key"."state" IN ('staged', 'active', 'retiring', 'retired', 'compromised')),
	CONSTRAINT "signing_key_alg" CHECK("signing_key"."alg" IN ('ES256', 'RS256'))
) STRICT;
--> statement-breakpoint
CREATE UNIQUE INDEX `signing_key_one_active` ON `signing_key` (`alg`) WHERE "signing_key"."state" = 'active';
--> statement-breakpoint
INSERT INTO `sequence` (`name`, `value`) VALUES ('registry', 0);
