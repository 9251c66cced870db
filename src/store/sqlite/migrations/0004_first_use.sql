ALTER TABLE `issuance` ADD `previous_jti` text;--> statement-breakpoint
ALTER TABLE `refresh_family` ADD `last_jti` text;--> statement-breakpoint
UPDATE `refresh_family` SET `last_jti` = (
	SELECT `jti` FROM `issuance` WHERE `family_id` = `refresh_family`.`family_id` AND `refresh_generation` = `generation` - 1
	ORDER BY `jti` LIMIT 1
);--> statement-breakpoint
UPDATE `issuance` SET `previous_jti` = (
	SELECT `jti` FROM `issuance` AS `earlier`
	WHERE `earlier`.`family_id` = `issuance`.`family_id` AND `earlier`.`refresh_generation` = `issuance`.`refresh_generation` - 1
	ORDER BY `jti` LIMIT 1
) WHERE `refresh_generation` > 0;--> statement-breakpoint
DROP INDEX `issuance_family`;--> statement-breakpoint
DROP INDEX `refresh_family_expiry`;
