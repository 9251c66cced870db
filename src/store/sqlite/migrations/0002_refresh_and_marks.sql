CREATE TABLE `client_introspects` (
	`client_id` text NOT NULL,
	`position` integer NOT NULL,
	`uri` text NOT NULL,
	PRIMARY KEY(`client_id`, `position`),
	FOREIGN KEY (`client_id`) REFERENCES `client`(`client_id`) ON UPDATE no action ON DELETE restrict,
	FOREIGN KEY (`uri`) REFERENCES `resource`(`uri`) ON UPDATE no action ON DELETE restrict
) STRICT;
--> statement-breakpoint
CREATE INDEX `client_introspects_uri` ON `client_introspects` (`uri`);--> statement-breakpoint
CREATE TABLE `mark` (
	`kind` text NOT NULL,
	`id` text NOT NULL,
	`client_id` text NOT NULL,
	`expires_at` integer NOT NULL,
	`sequence` integer NOT NULL,
	PRIMARY KEY(`kind`, `id`),
	CONSTRAINT "mark_kind" CHECK("mark"."kind" IN ('jti', 'family'))
) STRICT;
--> statement-breakpoint
CREATE INDEX `mark_sequence` ON `mark` (`sequence`);--> statement-breakpoint
CREATE INDEX `mark_expiry` ON `mark` (`expires_at`);--> statement-breakpoint
CREATE INDEX `mark_client` ON `mark` (`client_id`);--> statement-breakpoint
CREATE TABLE `refresh_family` (
	`family_id` text PRIMARY KEY NOT NULL,
	`client_id` text NOT NULL,
	`subject` text,
	`audience` text NOT NULL,
	`scope` text,
	`seed` blob NOT NULL,
	`generation` integer NOT NULL,
	`generation_at` integer NOT NULL,
	`root_version` integer NOT NULL,
	`expires_at` integer NOT NULL,
	`family_expires_at` integer NOT NULL,
	`ended_at` integer,
	`end_reason` text
) STRICT, WITHOUT ROWID;
--> statement-breakpoint
CREATE INDEX `refresh_family_expiry` ON `refresh_family` (`expires_at`);--> statement-breakpoint
ALTER TABLE `client` ADD `tokens_after` integer;--> statement-breakpoint
ALTER TABLE `installation` ADD `tokens_after` integer;--> statement-breakpoint
ALTER TABLE `issuance` ADD `family_id` text;--> statement-breakpoint
ALTER TABLE `issuance` ADD `refresh_generation` integer;--> statement-breakpoint
CREATE INDEX `issuance_family` ON `issuance` (`family_id`,`refresh_generation`) WHERE "issuance"."family_id" IS NOT NULL;--> statement-breakpoint
INSERT INTO `sequence` (`name`, `value`) VALUES ('mark', 0);--> statement-breakpoint
UPDATE `client` SET `tokens_after` = coalesce(`disabled_at`, `updated_at`) + 2000 WHERE `status` <> 'active';
