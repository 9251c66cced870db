CREATE TABLE `ring_mark` (
	`id` integer PRIMARY KEY NOT NULL,
	`high_water` integer NOT NULL,
	`running` integer NOT NULL,
	`resets` integer NOT NULL,
	CONSTRAINT "ring_mark_single" CHECK("ring_mark"."id" = 1)
) STRICT;
--> statement-breakpoint
ALTER TABLE `signing_key` ADD `rotation_requested_at` integer;--> statement-breakpoint
ALTER TABLE `signing_key` ADD `published_running` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `signing_key` ADD `retiring_running` integer;--> statement-breakpoint
ALTER TABLE `signing_key` ADD `cached_seconds` integer DEFAULT 86400 NOT NULL;--> statement-breakpoint
ALTER TABLE `signing_key` ADD `max_ttl_seconds` integer DEFAULT 86400 NOT NULL;--> statement-breakpoint
ALTER TABLE `signing_key` ADD `max_age_seconds` integer DEFAULT 86400 NOT NULL;--> statement-breakpoint
CREATE UNIQUE INDEX `signing_key_one_staged` ON `signing_key` (`alg`) WHERE "signing_key"."state" = 'staged';
--> statement-breakpoint
INSERT INTO `ring_mark` (`id`, `high_water`, `running`, `resets`) VALUES (1, 0, 0, 0);
